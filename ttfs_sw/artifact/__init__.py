"""The integer network that software and hardware agree on: its rules and its file."""
