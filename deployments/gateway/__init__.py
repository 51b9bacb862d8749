"""The door through which predictions are asked for: a bare ASGI app without Django.

It knows what the agent of its node hands it (arms, tokens, limits, worker sockets), holds no
database credential, and goes on with what it last knew when everything else is gone.
"""
