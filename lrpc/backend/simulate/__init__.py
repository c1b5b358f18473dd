"""What a program's calls allocate: the schedule run on sizes alone."""
