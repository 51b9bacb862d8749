"""The Merkle tree of RFC 6962 section 2.1, built leaf by leaf without keeping the leaves.

No Django: the same code seals, verifies and can be read on its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
# Subtrees whose hashes are kept, as powers of two: enough to start again without all leaves.
CACHED_LEVELS = (8, 16)


def hash_leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees that make up a tree, the largest first.

    Together with the size it is all that is needed to append and to compute the root.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)
        if len(self._hashes) != size.bit_count():
            raise ValueError(f"A tree of {size} leaves has {size.bit_count()} complete subtrees.")

    def copy(self) -> Frontier:
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf hash; return the cached subtrees it completes as (level, index, hash)."""
        completed = []
        node, level, position = leaf, 0, self.size
        while position & 1:
            node = hash_node(self._hashes.pop(), node)
            level, position = level + 1, position >> 1
            if level in CACHED_LEVELS:
                completed.append((level, position, node))
        self._hashes.append(node)
        self.size += 1
        return completed

    def append_subtree(self, level: int, node: bytes) -> None:
        """Add a complete subtree of 2**level leaves at once; the size must be a multiple of it."""
        position, remainder = divmod(self.size, 1 << level)
        if remainder:
            raise ValueError(f"A subtree of level {level} cannot begin at leaf {self.size}.")
        while position & 1:
            node = hash_node(self._hashes.pop(), node)
            position >>= 1
        self._hashes.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        """Return the hash of the whole tree."""
        if not self._hashes:
            return EMPTY_ROOT
        node = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            node = hash_node(left, node)
        return node
