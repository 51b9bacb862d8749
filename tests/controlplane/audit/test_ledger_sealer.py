"""The sealer loses nothing, counts without gaps, and never goes on from another ledger."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.core.management import call_command

from controlplane.audit import connections, notes, sealer
from controlplane.audit.merkle import Frontier
from controlplane.audit.sealer import LedgerDiffers, Sealer
from controlplane.audit.sealer_files import (
    KEY_FILE,
    STATE_FILE,
    VERIFIER_FILE,
    FilesUnusable,
    SealerFiles,
    read_trusted_keys,
)
from controlplane.local.home import CLONE
from tests.controlplane.audit import ledgers
from tests.controlplane.audit.ledgers import Ledger


def test_the_first_start_makes_a_key_that_only_its_user_reads(ledger: Ledger) -> None:
    assert ledger.seal() == 1
    folder = ledger.files.folder
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o400
    (trusted,) = read_trusted_keys(folder / VERIFIER_FILE)
    with ledger.connect("app") as connection:
        rows = connection.execute("SELECT action, payload FROM ledger.event").fetchall()
        (note,) = connection.execute("SELECT note FROM ledger.checkpoint").fetchone() or ("",)
    assert rows[0][0] == "ledger.created"
    assert trusted.key.vkey in rows[0][1]
    assert notes.open_note(note, trusted.key).tree_size == 1


def test_a_second_start_uses_the_same_key_and_counts_on(ledger: Ledger) -> None:
    ledger.seal()
    key = (ledger.files.folder / KEY_FILE).read_bytes()
    ledger.append(*(ledgers.event() for _ in range(700)))
    ledger.seal(300)
    ledger.seal(300)
    ledger.seal(300)
    assert (ledger.files.folder / KEY_FILE).read_bytes() == key
    assert ledger.verify().findings == []
    assert ledger.verify().size == 701


def test_the_order_is_that_of_the_ids(ledger: Ledger) -> None:
    events = [ledgers.event() for _ in range(20)]
    ledger.append(*reversed(events))
    ledger.seal()
    with ledger.connect("app") as connection:
        rows = connection.execute("SELECT event_id FROM ledger.leaf ORDER BY leaf_index")
        assert [event_id for (event_id,) in rows] == sorted(event.id for event in events)


def test_eight_writers_with_rollbacks_lose_nothing(ledger: Ledger) -> None:
    """Ids are taken before they are visible: reading "after the last id" would lose events."""
    ledger.seal()
    committed: list[str] = []
    done = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with ledger.connect("app") as connection:
            for _ in range(60):
                new = ledgers.event()
                keep = chance.random() > 0.1
                with connection.transaction(force_rollback=not keep):
                    ledgers.append(connection, new)
                    time.sleep(chance.random() / 500)
                if keep:
                    committed.append(str(new.id))

    def seal() -> None:
        with ledger.connect("sealer") as connection:
            own = Sealer(connection, ledger.files)
            own.open()
            while not done.is_set() or own.seal():
                own.seal(50)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(8)]
    sealing = threading.Thread(target=seal)
    for thread in (sealing, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    sealing.join()
    with ledger.connect("app") as connection:
        rows = connection.execute("SELECT leaf_index, event_id FROM ledger.leaf ORDER BY 1")
        leaves = rows.fetchall()
    assert {str(event_id) for _, event_id in leaves[1:]} == set(committed)
    assert [index for index, _ in leaves] == list(range(len(committed) + 1))
    assert ledger.verify().findings == []


def test_a_second_sealer_waits_for_the_first(ledger: Ledger) -> None:
    with ledger.connect("sealer") as first, ledger.connect("sealer") as second:
        assert Sealer(first, ledger.files).is_alone()
        assert not Sealer(second, ledger.files).is_alone()
        first.close()
        deadline = time.monotonic() + 5
        while not Sealer(second, ledger.files).is_alone():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_two_sealers_without_the_lock_do_not_break_the_ledger(ledger: Ledger) -> None:
    ledger.seal()
    with ledger.connect("sealer") as first, ledger.connect("sealer") as second:
        one, other = Sealer(first, ledger.files), Sealer(second, ledger.files)
        one.open()
        other.open()
        ledger.append(ledgers.event())
        assert one.seal() == 1
        ledger.append(ledgers.event())
        with pytest.raises(LedgerDiffers, match="changed under the sealer"):
            other.seal()
        assert one.seal() == 1
    assert ledger.verify().findings == []


def test_a_restored_backup_is_not_continued(ledger: Ledger, tmp_path: Path) -> None:
    ledger.seal()
    backup = ledger.clone(ledger.files.folder)
    ledger.append(ledgers.event())
    ledger.seal()
    try:
        backup.append(ledgers.event())
        with pytest.raises(LedgerDiffers, match=r"holds 1 sealed entries, but 2 have been signed"):
            backup.seal()
        assert backup.verify().size == 1
    finally:
        backup.drop()


def test_a_ledger_of_the_same_size_with_other_entries_is_not_continued(ledger: Ledger) -> None:
    ledger.seal()
    fork = ledger.clone(ledger.files.folder)
    try:
        forked = SealerFiles(ledger.files.folder.with_name("fork"))
        shutil.copytree(ledger.files.folder, forked.folder)
        fork.files = forked
        for copy in (ledger, fork):
            copy.append(ledgers.event())
            copy.seal()
        fork.files = ledger.files
        with pytest.raises(LedgerDiffers, match="not the ones that have been signed"):
            fork.seal()
    finally:
        fork.drop()


def test_a_crash_between_commit_and_state_file_is_survived(ledger: Ledger) -> None:
    ledger.seal()
    before = (ledger.files.folder / STATE_FILE).read_bytes()
    ledger.append(ledgers.event())
    ledger.seal()
    (ledger.files.folder / STATE_FILE).write_bytes(before)
    ledger.append(ledgers.event())
    assert ledger.seal() == 1
    assert ledger.verify().findings == []


def test_an_event_altered_before_it_is_sealed_is_not_signed(ledger: Ledger) -> None:
    ledger.seal()
    ledger.append(ledgers.event())
    ledger.tamper("UPDATE ledger.event SET payload = payload || ' ' WHERE action = 'model.update'")
    with pytest.raises(LedgerDiffers, match="was altered before it was sealed"):
        ledger.seal()


def test_a_queue_row_without_its_event_is_not_passed_over(ledger: Ledger) -> None:
    ledger.seal()
    ledger.append(ledgers.event())
    ledger.tamper("DELETE FROM ledger.event WHERE action = 'model.update'")
    with pytest.raises(LedgerDiffers, match="1 events wait, but 0 of them exist"):
        ledger.seal()


@pytest.mark.parametrize("lost", [[KEY_FILE], [STATE_FILE], [KEY_FILE, STATE_FILE]])
def test_a_signed_ledger_needs_its_folder(ledger: Ledger, lost: list[str]) -> None:
    ledger.seal()
    for name in lost:
        (ledger.files.folder / name).unlink()
    with pytest.raises(LedgerDiffers, match="Give the sealer its folder back"):
        ledger.seal()


def test_a_key_without_state_does_not_begin_another_ledger(ledger: Ledger) -> None:
    ledger.files.folder.mkdir()
    ledger.files.make_key("gatehouse.example/other")
    with pytest.raises(LedgerDiffers, match="a signing key without a state"):
        ledger.seal()


def test_the_key_of_another_ledger_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    ledger.seal()
    other = ledgers.make(ledger.files.folder, origin="gatehouse.example/other")
    try:
        with pytest.raises(LedgerDiffers, match=r"This sealer signs gatehouse\.example/test"):
            other.seal()
    finally:
        other.drop()


def test_a_key_that_others_may_read_is_refused(ledger: Ledger) -> None:
    ledger.seal()
    (ledger.files.folder / KEY_FILE).chmod(0o440)
    with pytest.raises(FilesUnusable, match="is open to others"):
        ledger.seal()


def test_a_damaged_state_file_is_refused(ledger: Ledger) -> None:
    ledger.seal()
    (ledger.files.folder / STATE_FILE).write_text("{")
    with pytest.raises(FilesUnusable, match=r"state file .* is damaged"):
        ledger.seal()


def test_it_beats_once_an_hour(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with ledger.connect("sealer") as connection:
        own = Sealer(connection, ledger.files)
        own.open()
        assert own.beat()
        assert not own.beat()
        monkeypatch.setattr(sealer, "HEARTBEAT_EVERY", sealer.TICK * 0)
        assert own.beat()


def test_it_makes_missing_months(ledger: Ledger) -> None:
    with ledger.connect("sealer") as connection:
        own = Sealer(connection, ledger.files)
        own.open()
        assert own.make_partitions() == 0
        row = connection.execute("SELECT ledger.ensure_partitions(5)").fetchone()
        assert row == (2,)
    assert ledger.seal() == 1
    assert ledger.verify().findings == []


def test_the_root_is_that_of_all_leaves_whatever_the_batches(ledger: Ledger) -> None:
    ledger.append(*(ledgers.event() for _ in range(530)))
    for limit in (1, 7, 255, 1, 300):
        ledger.seal(limit)
    frontier = Frontier()
    with ledger.connect("app") as connection:
        for (leaf,) in connection.execute("SELECT leaf_hash FROM ledger.leaf ORDER BY leaf_index"):
            frontier.append(bytes(leaf))
        row = connection.execute(
            "SELECT tree_size, root FROM ledger.checkpoint ORDER BY tree_size DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    assert (row[0], bytes(row[1])) == (frontier.size, frontier.root()) == (530, frontier.root())


@pytest.mark.processes
def test_the_process_seals_soon_and_ends_on_sigterm(ledger: Ledger) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "sealer"],
        cwd=CLONE,
        env=_environment(ledger),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for_leaves(ledger, 2)
        ledger.append(ledgers.event())
        started = time.monotonic()
        _wait_for_leaves(ledger, 3)
        assert time.monotonic() - started < 3
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=8)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    assert ledger.verify().findings == []


@pytest.mark.processes
def test_the_command_verifies_an_installation_and_records_it(ledger: Ledger) -> None:
    ledger.seal()
    done = subprocess.run(
        [sys.executable, "manage.py", "ledger_verify"],
        cwd=CLONE,
        env=_environment(ledger),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The ledger is intact. Without anchors kept elsewhere, truncation" in done.stdout
    with ledger.connect("app") as connection:
        row = connection.execute(
            "SELECT outcome FROM ledger.event WHERE action = 'ledger.verify'"
        ).fetchone()
    assert row == ("success",)


def test_its_exit_code_says_what_it_found(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "parameters", ledger.parameters)

    def verify(*arguments: str) -> tuple[object, str]:
        keys = ledger.files.folder / VERIFIER_FILE
        with pytest.raises(SystemExit) as ended:
            call_command("ledger_verify", "--no-record", f"--keys={keys}", *arguments)
        return ended.value.code, "".join(capsys.readouterr())

    code, text = verify()
    assert code == 126
    assert "The ledger could not be checked. The verifier keys" in text
    ledger.seal()
    assert verify()[0] == 0
    code, text = verify("--since=9")
    assert code == 126
    assert "The ledger has no 9 entries" in text
    ledger.tamper("UPDATE ledger.event SET payload = payload || ' '")
    code, text = verify()
    assert code == 1
    assert "Entry number 1: the event's bytes are not the sealed ones." in text
    assert "The ledger is NOT intact." in text
    ledger.drop()
    code, text = verify()
    assert code == 126
    assert "does not exist" in text


def _environment(ledger: Ledger) -> dict[str, str]:
    """Return the environment of an installation whose database is this ledger's."""
    values = {
        name: value for name, value in os.environ.items() if not name.startswith("GATEHOUSE_")
    }
    values |= {
        "DJANGO_SETTINGS_MODULE": "controlplane.settings.base",
        "GATEHOUSE_SECRET_KEY": "only-for-this-test",
        "GATEHOUSE_LEDGER_STATE_DIR": str(ledger.files.folder),
        "DATABASE_URL": _url(ledger, "app"),
    }
    for role in ("sealer", "auditor"):
        values[f"GATEHOUSE_{role.upper()}_DATABASE_URL"] = _url(ledger, role)
    return values


def _url(ledger: Ledger, role: str) -> str:
    values = ledger.parameters(role)
    host = quote(values["host"], safe="")
    return f"postgresql://{values['user']}:{values['password']}@/{ledger.name}?host={host}"


def _wait_for_leaves(ledger: Ledger, count: int) -> None:
    deadline = time.monotonic() + 20
    with ledger.connect("app") as connection:
        while True:
            row = connection.execute("SELECT count(*) FROM ledger.leaf").fetchone()
            if row and row[0] >= count:
                return
            assert time.monotonic() < deadline, f"{row} leaves after 20 s, wanted {count}"
            time.sleep(0.02)


def test_a_lost_database_is_waited_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "_RECONNECT_AFTER", sealer.TICK)
    stop = threading.Event()
    opened: list[connections.Connection] = []

    def connect() -> connections.Connection:
        opened.append(ledger.connect("sealer"))
        return opened[-1]

    working = threading.Thread(target=sealer.run, args=(connect, ledger.files, stop))
    working.start()
    try:
        _wait_for_leaves(ledger, 1)
        with ledger.as_superuser() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'gh_sealer' AND datname = %s",
                [ledger.name],
            )
        ledger.append(ledgers.event())
        _wait_for_leaves(ledger, 3)
    finally:
        stop.set()
        working.join()
    assert len(opened) == 2
    assert isinstance(opened[0], psycopg.Connection)
    assert ledger.verify().findings == []
