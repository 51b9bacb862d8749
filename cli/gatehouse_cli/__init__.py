"""The command line of Gatehouse, and the small client it is made of."""

__version__ = "0.1.0"
