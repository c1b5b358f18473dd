"""Measures programs beside their peers and holds them against goals."""
