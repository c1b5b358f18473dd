"""The commands, one package each, on one session: images, a program, relevance."""
