"""What may be done with runs, their files and their numbers."""
