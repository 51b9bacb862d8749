"""Carry bytes between a port inside the sandbox and one address outside.

The listening socket is made inside the sandbox's network namespace and handed out to the shim,
which accepts on it and connects in the machine's network: a socket stays in the namespace that
it was made in. So one address can be reached from inside, and nothing else.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import threading

from controlplane.jobs.inside.plan import RelayPlan

_SET_INTERFACE_FLAGS = 0x8914
_UP_AND_RUNNING = 0x41
_CHUNK_BYTES = 1 << 17
_CONNECT_SECONDS = 10


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", _UP_AND_RUNNING)
        fcntl.ioctl(control, _SET_INTERFACE_FLAGS, request)


def hand_out(relays: list[RelayPlan], channel: socket.socket) -> None:
    """Listen on each relay's port in this network namespace and give the sockets away."""
    listeners = []
    for relay in relays:
        listener = socket.create_server(("127.0.0.1", relay["port"]), backlog=64)
        listeners.append(listener)
    socket.send_fds(channel, [b"L"], [listener.fileno() for listener in listeners])
    for listener in listeners:
        listener.close()


def take_over(relays: list[RelayPlan], channel: socket.socket) -> bool:
    """Receive the listening sockets and serve them from now on; False if none came."""
    message, descriptors, _, _ = socket.recv_fds(channel, 1, len(relays))
    if not message or len(descriptors) != len(relays):
        return False
    for relay, descriptor in zip(relays, descriptors, strict=True):
        listener = socket.socket(fileno=descriptor)
        threading.Thread(target=_serve, args=(listener, relay), daemon=True).start()
    return True


def _serve(listener: socket.socket, relay: RelayPlan) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_connect, args=(client, relay), daemon=True).start()


def _connect(client: socket.socket, relay: RelayPlan) -> None:
    try:
        outside = socket.create_connection(
            (relay["target_host"], relay["target_port"]), timeout=_CONNECT_SECONDS
        )
    except OSError:
        # The program inside sees its connection closed, as it would from a server that is down.
        client.close()
        return
    outside.settimeout(None)
    back = threading.Thread(target=_pump, args=(outside, client), daemon=True)
    back.start()
    _pump(client, outside)
    back.join()
    client.close()
    outside.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until ``source`` says it is done, then say so to ``target``."""
    try:
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            _shut(end)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
