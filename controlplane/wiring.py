"""Who reacts to which event: the whole list."""


def join() -> None:
    """Connect listeners to events. Called once, when every app is loaded."""
