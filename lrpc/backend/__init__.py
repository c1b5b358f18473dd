"""From joint graphs to programs: the schedule, memory, and the text."""
