"""How much memory a program takes: every storage that it allocates, and when it is freed."""
