"""What every part may use: files, text from elsewhere, the terminal, signals."""
