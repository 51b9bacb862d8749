"""The only way in which a state changes."""
