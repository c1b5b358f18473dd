"""From graphs to programs: the schedule, its text, and what its memory is."""
