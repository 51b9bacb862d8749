"""What pages show: records, read for one person, in the words and shapes that templates need."""
