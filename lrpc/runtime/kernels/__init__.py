"""Tensor kernels that programs carry: torch, and triton where it is there."""
