"""`lrpc concepts`: which channels a program's decisions go through, over a data set."""
