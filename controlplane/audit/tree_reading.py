"""Rebuilding a tree's frontier from the cached subtrees and the leaves behind them."""

from __future__ import annotations

from controlplane.audit.connections import Connection
from controlplane.audit.merkle import CACHED_LEVELS, Frontier


class TreeIncomplete(Exception):
    """Leaves or cached subtrees are missing; the message says from where on."""


def frontier_at(connection: Connection, tree_size: int) -> Frontier:
    """Return the frontier of the first ``tree_size`` leaves as the tables have them.

    Reads at most one row per 65,536 leaves and some hundreds more.

    Raises:
        TreeIncomplete: a row that is needed is not there.
    """
    frontier = Frontier()
    for level in sorted(CACHED_LEVELS, reverse=True):
        first, end = frontier.size >> level, tree_size >> level
        rows = connection.execute(
            "SELECT idx, hash FROM ledger.node WHERE level = %s AND idx >= %s AND idx < %s "
            "ORDER BY idx",
            [level, first, end],
        )
        for index, node in rows:
            if index != frontier.size >> level:
                break
            frontier.append_subtree(level, bytes(node))
        if frontier.size >> level != end:
            raise TreeIncomplete(f"A cached subtree of level {level} is missing.")
    rows = connection.execute(
        "SELECT leaf_index, leaf_hash FROM ledger.leaf WHERE leaf_index >= %s "
        "AND leaf_index < %s ORDER BY leaf_index",
        [frontier.size, tree_size],
    )
    for index, leaf in rows:
        if index != frontier.size:
            break
        frontier.append(bytes(leaf))
    if frontier.size != tree_size:
        raise TreeIncomplete(f"Entry number {frontier.size + 1} is missing.")
    return frontier
