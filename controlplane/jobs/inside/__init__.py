"""The part of the sandbox that runs in processes of its own: plain Python, started bare.

``shim`` stays outside and watches, ``init`` is process 1 inside and starts the program. Neither
imports Django nor anything installed, because they run with ``-I -S`` and an empty environment.
"""
