"""The schedule: functions of statements between the joint graphs and the text of a program."""
