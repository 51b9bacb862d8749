"""The database's roles and schemas, and the commands that work on all of it."""
