"""The text of a program, from its schedule."""
