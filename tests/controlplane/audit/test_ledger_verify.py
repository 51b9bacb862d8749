"""Every way of changing a ledger from inside is found, and nothing else is called a change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.audit import notes
from controlplane.audit.connections import Connection
from controlplane.audit.merkle import Frontier
from controlplane.audit.sealer_files import VERIFIER_FILE, read_trusted_keys
from controlplane.audit.verify import CouldNotVerify, verify
from controlplane.core import clock
from tests.controlplane.audit import ledgers
from tests.controlplane.audit.ledgers import Ledger

Clone = Callable[[], Ledger]
_NTH = "(SELECT event_id FROM ledger.leaf WHERE leaf_index = {})"
_OF = f"WHERE id = {_NTH}"
_LEAF = "sha256('\\x00'::bytea || convert_to(payload, 'UTF8'))"
_HASH_TOO = f"UPDATE ledger.event SET leaf = {_LEAF} "
_LEAF_TOO = (
    "UPDATE ledger.leaf SET leaf_hash = (SELECT leaf FROM ledger.event e WHERE e.id = event_id) "
    "WHERE leaf_index = {}"
)


def _edit(number: int, change: str) -> str:
    return f"UPDATE ledger.event SET payload = {change} {_OF.format(number)}"


_RENAME = "replace(payload, '\"churn\"', '\"chorn\"')"
_DELETE = f"DELETE FROM ledger.event {_OF}"
_DELETE_LEAF = "DELETE FROM ledger.leaf WHERE leaf_index = {}"
_RENUMBER = [
    # Downwards in ascending order, one by one: the key is checked row by row.
    "DO $$ DECLARE i bigint; BEGIN FOR i IN SELECT leaf_index FROM ledger.leaf "
    "WHERE leaf_index > 300 ORDER BY 1 LOOP UPDATE ledger.leaf SET leaf_index = i - 1 "
    "WHERE leaf_index = i; END LOOP; END $$"
]
_COPY = (
    "INSERT INTO ledger.event (id, at, actor, action, object_type, object_id, workspace, outcome, "
    "payload, leaf) SELECT {}, at, actor, action, object_type, object_id, workspace, outcome, "
    f"payload, leaf FROM ledger.event {_OF}"
)
_SWAP_LEAVES = (
    "UPDATE ledger.leaf a SET leaf_hash = b.leaf_hash FROM ledger.leaf b "
    "WHERE (a.leaf_index, b.leaf_index) IN ((40, 41), (41, 40))"
)
_SWAP_PAYLOADS = (
    "UPDATE ledger.event a SET payload = b.payload, leaf = b.leaf FROM ledger.event b "
    f"WHERE (a.id, b.id) IN (({_NTH.format(40)}, {_NTH.format(41)}), "
    f"({_NTH.format(41)}, {_NTH.format(40)}))"
)
_NEWEST = "(SELECT max(tree_size) FROM ledger.checkpoint)"

ATTACKS: dict[str, tuple[list[str], str]] = {
    "a column": (
        [f"UPDATE ledger.event SET outcome = 'success', actor = 'user:9' {_OF.format(25)}"],
        "Entry number 26: the columns do not say",
    ),
    "the time": (
        [f"UPDATE ledger.event SET at = at - interval '1 second' {_OF.format(30)}"],
        "Entry number 31: the event's time",
    ),
    "the payload": ([_edit(30, _RENAME)], "Entry number 31: the event's bytes are not the sealed"),
    "the payload and the hash beside it": (
        [_edit(30, _RENAME), _HASH_TOO + _OF.format(30)],
        "Entry number 31: the event's bytes are not the sealed",
    ),
    "the payload, its hash and its leaf": (
        [_edit(30, _RENAME), _HASH_TOO + _OF.format(30), _LEAF_TOO.format(30)],
        "has a root that its entries do not give",
    ),
    "a space in the payload": (
        [_edit(30, "replace(payload, '\":', '\": ')")],
        "Entry number 31: the event's bytes are not canonical",
    ),
    "the order of keys": (
        [_edit(30, "'{\"v\":1,' || replace(substr(payload, 2), ',\"v\":1', '')")],
        "Entry number 31: the event's bytes are not canonical",
    ),
    "a key twice": (
        [_edit(30, '\'{"action":"model.create",\' || substr(payload, 2)')],
        "a key appears twice",
    ),
    "the first event": ([_edit(0, "replace(payload, 'ledger', 'lodger')")], "Entry number 1:"),
    "the last sealed event": ([_edit(600, _RENAME)], "Entry number 601:"),
    "an event deleted": ([_DELETE.format(300)], "Entry number 301: the event"),
    "an event and its leaf deleted": (
        [_DELETE.format(300), _DELETE_LEAF.format(300)],
        "Entry number 301 is missing",
    ),
    "an event deleted and the rest renumbered": (
        [_DELETE.format(300), _DELETE_LEAF.format(300), *_RENUMBER],
        "has a root that its entries do not give",
    ),
    "an event stored without the queue": (
        [_COPY.format("gen_random_uuid()", 50)],
        "is neither sealed nor waiting",
    ),
    "a leaf appended without a checkpoint": (
        [
            "INSERT INTO ledger.leaf SELECT 601, event_id, at, leaf FROM ledger.pending "
            "JOIN ledger.event USING (at) LIMIT 1",
            "DELETE FROM ledger.pending WHERE event_id IN (SELECT event_id FROM ledger.leaf)",
        ],
        "The newest checkpoint covers 601 entries, the ledger holds 602",
    ),
    "the same event twice": ([_COPY.format("id", 50)], "is stored 2 times"),
    "two leaves swapped": ([_SWAP_LEAVES], "Entry number 41: the event's bytes"),
    "two payloads swapped": ([_SWAP_PAYLOADS], "Entry number 41: the columns do not say"),
    "the tail cut, checkpoints kept": (
        ["DELETE FROM ledger.leaf WHERE leaf_index >= 551"],
        "The newest checkpoint covers 601 entries, the ledger holds 551",
    ),
    "the tail cut between checkpoints": (
        [
            "DELETE FROM ledger.event WHERE id IN "
            "(SELECT event_id FROM ledger.leaf WHERE leaf_index >= 580)",
            "DELETE FROM ledger.leaf WHERE leaf_index >= 580",
            "DELETE FROM ledger.checkpoint WHERE tree_size > 580",
        ],
        "The newest checkpoint covers 551 entries, the ledger holds 580",
    ),
    "the newest checkpoint deleted": (
        [f"DELETE FROM ledger.checkpoint WHERE tree_size = {_NEWEST}"],
        "The newest checkpoint covers 551 entries, the ledger holds 601",
    ),
    "a root": (
        [
            "UPDATE ledger.checkpoint SET root = sha256(root) WHERE tree_size = 301",
        ],
        "The checkpoint of 301 entries has a root that",
    ),
    "a checkpoint's size": (
        ["UPDATE ledger.checkpoint SET tree_size = 302 WHERE tree_size = 301"],
        "The checkpoint of 302 entries",
    ),
    "another checkpoint's note": (
        [
            "UPDATE ledger.checkpoint SET note = (SELECT note FROM ledger.checkpoint "
            "WHERE tree_size = 251) WHERE tree_size = 301"
        ],
        "The checkpoint of 301 entries carries a note that says something else",
    ),
    "a note without signature": (
        [
            "UPDATE ledger.checkpoint SET note = split_part(note, E'\\n\\n', 1) || E'\\n' "
            "WHERE tree_size = 301"
        ],
        "The checkpoint of 301 entries is not signed as it should be",
    ),
    "a cached subtree": (
        ["UPDATE ledger.node SET hash = sha256(hash) WHERE level = 8 AND idx = 1"],
        "The cached subtree 1 of level 8",
    ),
    "a cached subtree deleted": (["DELETE FROM ledger.node"], "The cached subtree 0 of level 8"),
    "a queue row deleted": (["DELETE FROM ledger.pending"], "is neither sealed nor waiting"),
    "a queue row invented": (
        ["INSERT INTO ledger.pending SELECT event_id, event_at FROM ledger.leaf LIMIT 1"],
        "which is sealed already",
    ),
    "a personal value": (
        [f"UPDATE ledger.personal SET value = '\"x\"' WHERE event_id = {_NTH.format(20)}"],
        "is not the one that was recorded",
    ),
    "a personal value silently deleted": (
        [f"DELETE FROM ledger.personal WHERE event_id = {_NTH.format(31)} AND path = 'ip'"],
        "Entry number 32: its ip is gone, and no erasure was recorded",
    ),
    "a personal value invented": (
        [
            "INSERT INTO ledger.personal SELECT gen_random_uuid(), path, salt, value "
            "FROM ledger.personal LIMIT 1"
        ],
        "which does not exist",
    ),
    "a trigger dropped": (
        ["DROP TRIGGER refuse_change ON ledger.leaf"],
        "The trigger refuse_change on ledger.leaf is missing",
    ),
    "a trigger disabled": (
        ["ALTER TABLE ledger.event DISABLE TRIGGER arrive"],
        "The trigger arrive on ledger.event is switched off",
    ),
    "a trigger that swallows events": (
        [
            "CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER zz BEFORE INSERT ON ledger.event FOR EACH ROW "
            "EXECUTE FUNCTION public.swallow()",
        ],
        "The trigger zz on ledger.event does not belong there",
    ),
    "a function's body": (
        [
            "CREATE OR REPLACE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql "
            "SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NEW; END'"
        ],
        "The body of the function ledger.refuse has been changed",
    ),
    "a grant": (
        ["GRANT UPDATE ON ledger.event TO gh_app"],
        "gh_app may UPDATE ledger.event, which nobody was to",
    ),
    "a grant on a column": (
        ["GRANT UPDATE (payload) ON ledger.event TO gh_app"],
        "gh_app may UPDATE ledger.event.payload",
    ),
    "the owner": (
        ["ALTER TABLE ledger.leaf OWNER TO gh_app"],
        "The table ledger.leaf belongs to gh_app",
    ),
    "row security": (
        ["ALTER TABLE ledger.event ENABLE ROW LEVEL SECURITY"],
        "can hide rows",
    ),
    "a partition detached": (
        [
            "DO $$ BEGIN EXECUTE format('ALTER TABLE ledger.event DETACH PARTITION ledger.%I', "
            "'event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')); END $$"
        ],
        "is not attached to the event table",
    ),
}


def test_an_untouched_ledger_is_intact(sealed: Ledger) -> None:
    report = sealed.verify()
    assert report.findings == []
    assert (report.size, report.checkpoints, report.pending) == (601, 13, 3)


@pytest.mark.parametrize("attack", ATTACKS)
def test_tampering_is_found(attack: str, clone_of_sealed: Clone) -> None:
    statements, sentence = ATTACKS[attack]
    ledger = clone_of_sealed()
    ledger.tamper(*statements)
    findings = ledger.verify().findings
    assert any(sentence in finding for finding in findings), findings


def test_a_ledger_rewritten_under_another_key_is_found(clone_of_sealed: Clone) -> None:
    ledger = clone_of_sealed()
    ledger.tamper(_edit(300, _RENAME), _HASH_TOO + _OF.format(300), _LEAF_TOO.format(300))
    with ledger.as_superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        _sign_anew(connection, Ed25519PrivateKey.generate())
    findings = ledger.verify().findings
    assert any("has not signed the note" in finding for finding in findings), findings


def test_a_ledger_cut_back_to_a_signed_state_passes_and_the_report_says_so(
    clone_of_sealed: Clone,
) -> None:
    """From inside this is invisible: the sealer's state file and outside anchors find it."""
    ledger = clone_of_sealed()
    ledger.tamper(
        "DELETE FROM ledger.personal WHERE event_id IN "
        "(SELECT event_id FROM ledger.leaf WHERE leaf_index >= 551)",
        "DELETE FROM ledger.event WHERE id IN "
        "(SELECT event_id FROM ledger.leaf WHERE leaf_index >= 551)",
        "DELETE FROM ledger.leaf WHERE leaf_index >= 551",
        "DELETE FROM ledger.checkpoint WHERE tree_size > 551",
    )
    assert ledger.verify().is_intact


def test_gaps_in_internal_numbers_and_vacuum_are_no_findings(clone_of_sealed: Clone) -> None:
    ledger = clone_of_sealed()
    with ledger.connect("app") as connection:
        for number in range(6):
            with connection.transaction(force_rollback=number % 2 == 0):
                ledgers.append(connection, ledgers.event())
    with ledger.as_superuser() as connection:
        connection.execute("VACUUM (ANALYZE)")
    assert ledger.verify().findings == []


def test_a_later_start_checks_what_is_new_and_leaves_out_what_is_old(
    clone_of_sealed: Clone,
) -> None:
    ledger = clone_of_sealed()
    ledger.tamper(_edit(30, _RENAME), _edit(590, _RENAME))
    report = ledger.verify(since=560)
    assert report.since == 551
    assert [finding[:16] for finding in report.findings] == ["Entry number 591"]


def test_a_later_start_needs_a_true_checkpoint_to_stand_on(clone_of_sealed: Clone) -> None:
    ledger = clone_of_sealed()
    ledger.tamper("UPDATE ledger.node SET hash = sha256(hash) WHERE idx = 0")
    assert not ledger.verify(since=560).is_intact


def test_a_start_beyond_the_ledger_cannot_be_checked(sealed: Ledger) -> None:
    with pytest.raises(CouldNotVerify, match="has no 602 entries"):
        sealed.verify(since=602)


def test_keys_count_only_for_their_sizes(sealed: Ledger, tmp_path: Path) -> None:
    (line,) = (sealed.files.folder / VERIFIER_FILE).read_text().splitlines()
    late = tmp_path / "keys"
    late.write_text(line.replace("0 - ", "0 301 ", 1) + "\n")
    with sealed.connect("auditor") as connection:
        report = verify(connection, read_trusted_keys(late))
    assert report.findings[0] == "The checkpoint of 351 entries falls outside every trusted key."
    assert len(report.findings) == 6


def test_a_ledger_dumped_and_restored_is_intact(sealed: Ledger) -> None:
    restored = sealed.dump_and_restore()
    try:
        assert restored.verify().findings == []
    finally:
        restored.drop()


def test_next_month_must_have_its_table(sealed: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from controlplane.audit import posture

    far = clock.now() + timedelta(days=400)
    monkeypatch.setattr(posture, "now", lambda: far)
    assert "There is no table for next month's events" in sealed.verify().findings[-1]


def _sign_anew(connection: Connection, key: Ed25519PrivateKey) -> None:
    """Give every checkpoint the root that its leaves have now, signed with the key."""
    (origin,) = connection.execute("SELECT origin FROM ledger.log").fetchone() or ("",)
    leaves = connection.execute("SELECT leaf_hash FROM ledger.leaf ORDER BY leaf_index").fetchall()
    frontier = Frontier()
    roots = {}
    for (leaf,) in leaves:
        frontier.append(bytes(leaf))
        roots[frontier.size] = frontier.root()
    for (size,) in connection.execute("SELECT tree_size FROM ledger.checkpoint").fetchall():
        note = notes.sign(notes.Checkpoint(origin, size, roots[size]), key)
        connection.execute(
            "UPDATE ledger.checkpoint SET root = %s, note = %s WHERE tree_size = %s",
            [roots[size], note, size],
        )
