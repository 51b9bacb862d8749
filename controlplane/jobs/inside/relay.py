"""Carry bytes between a port inside the sandbox and one address outside.

The listening socket is made inside the sandbox's network namespace and handed out to the shim,
which accepts on it and connects in the machine's network: a socket stays in the namespace that
it was made in. So one address can be reached from inside, and nothing else.
"""

from __future__ import annotations

import fcntl
import selectors
import socket
import struct

from controlplane.jobs.inside.plan import RelayPlan

_SET_INTERFACE_FLAGS = 0x8914
_UP_AND_RUNNING = 0x41
_CHUNK_BYTES = 1 << 17
_ROOM_BYTES = 1 << 20
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


def take_over(relays: list[RelayPlan], channel: socket.socket, carrier: Carrier) -> bool:
    """Receive the listening sockets and serve them from now on; False if none came."""
    message, descriptors, _, _ = socket.recv_fds(channel, 1, len(relays))
    if not message or len(descriptors) != len(relays):
        return False
    for relay, descriptor in zip(relays, descriptors, strict=True):
        address = (relay["target_host"], relay["target_port"])
        carrier.listen(socket.socket(fileno=descriptor), address)
    return True


class Carrier:
    """Copies between pairs of sockets in the caller's selector.

    One loop and no threads: a process that has called ``unshare(CLONE_NEWPID)`` can start none.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector

    def listen(self, listener: socket.socket, address: tuple[str, int]) -> None:
        listener.setblocking(False)

        def accept(_: int) -> None:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._connect(client, address)

        self.selector.register(listener, selectors.EVENT_READ, accept)

    def _connect(self, client: socket.socket, address: tuple[str, int]) -> None:
        try:
            outside = socket.create_connection(address, timeout=_CONNECT_SECONDS)
        except OSError:
            # The program inside sees its connection closed, as by a server that is down.
            client.close()
            return
        there, back = End(client), End(outside)
        there.other, back.other = back, there
        for end in (there, back):
            end.socket.setblocking(False)
            self._watch(end)

    def _watch(self, end: End) -> None:
        """Read while the other side has room, write while something waits."""
        events = 0
        if not end.has_ended and len(end.other.waiting) < _ROOM_BYTES:
            events |= selectors.EVENT_READ
        if end.waiting or (end.other.has_ended and not end.is_shut):
            events |= selectors.EVENT_WRITE
        if end.socket in self.selector.get_map():
            self.selector.unregister(end.socket)
        if events:
            self.selector.register(end.socket, events, lambda ready: self._move(end, ready))

    def _move(self, end: End, ready: int) -> None:
        try:
            if ready & selectors.EVENT_READ:
                end.take_in()
            if ready & selectors.EVENT_WRITE:
                end.give_out()
        except BlockingIOError:
            return
        except OSError:
            self._close(end)
            return
        if end.is_shut and end.other.is_shut:
            self._close(end)
            return
        self._watch(end)
        self._watch(end.other)

    def _close(self, end: End) -> None:
        for one in (end, end.other):
            if one.socket.fileno() >= 0 and one.socket in self.selector.get_map():
                self.selector.unregister(one.socket)
            one.socket.close()


class End:
    """One side of a connection, with the bytes that wait to be written to it."""

    other: End

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.waiting = bytearray()
        self.has_ended = False
        self.is_shut = False

    def take_in(self) -> None:
        chunk = self.socket.recv(_CHUNK_BYTES)
        if chunk:
            self.other.waiting += chunk
        else:
            self.has_ended = True

    def give_out(self) -> None:
        if self.waiting:
            sent = self.socket.send(self.waiting)
            del self.waiting[:sent]
        if not self.waiting and self.other.has_ended and not self.is_shut:
            self.socket.shutdown(socket.SHUT_WR)
            self.is_shut = True
