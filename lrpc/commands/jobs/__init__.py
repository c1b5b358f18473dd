"""Jobs: a program over a data set, resumable, in one process or on several."""
