"""Checks and measurements on one GPU, in minutes, from a copied checkout."""
