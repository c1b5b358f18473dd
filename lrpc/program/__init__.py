"""Program directories: building, writing, reading, and holding them against their reference."""
