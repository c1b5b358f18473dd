"""`lrpc plan`: the memory of a program, as tables and a picture."""
