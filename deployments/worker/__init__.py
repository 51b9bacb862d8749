"""The process that holds one model version; main.py is run by the version's own Python."""
