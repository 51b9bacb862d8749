"""Captured records outlive the process that wrote them, and a torn one hides none before it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deployments.agent.loader import ABANDONED_SECONDS, adopt
from deployments.gateway import capture as capturing
from deployments.gateway.capture import Capture, read_segment
from tests.deployments.serving import ROOT, wait_for


def record(number: int) -> dict[str, Any]:
    return {"id": str(number), "features": [{"a": 1.0}], "outputs": [number]}


def segments(folder: Path, ending: str) -> list[Path]:
    return sorted(folder.glob(f"*{ending}"))


def test_a_finished_segment_holds_every_record_in_order(tmp_path: Path) -> None:
    capture = Capture(tmp_path, "gateway:one")
    for number in range(100):
        assert capture.append(record(number))
    capture.close()
    (segment,) = segments(tmp_path, ".seg")
    found, is_whole = read_segment(segment)
    assert is_whole
    assert found == [record(number) for number in range(100)]


def test_large_segments_are_cut_without_losing_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capturing, "SEGMENT_BYTES", 2_000)
    capture = Capture(tmp_path, "one")
    for number in range(200):
        capture.append(record(number))
    capture.close()
    finished = segments(tmp_path, ".seg")
    assert len(finished) > 3
    assert [r for s in finished for r in read_segment(s)[0]] == [record(n) for n in range(200)]


def test_an_old_segment_is_finished_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capturing, "SEGMENT_SECONDS", 0.2)
    capture = Capture(tmp_path, "one")
    capture.append(record(1))
    wait_for(lambda: segments(tmp_path, ".seg"), 5)
    capture.close()


def test_a_torn_record_hides_only_what_follows_it(tmp_path: Path) -> None:
    capture = Capture(tmp_path, "one")
    for number in range(3):
        capture.append(record(number))
    capture.close()
    (segment,) = segments(tmp_path, ".seg")
    whole = segment.read_bytes()
    size = len(whole) // 3
    for damaged in (whole[: size * 2 + 5], whole[: size * 2 + 20], flipped(whole, size * 2 + 20)):
        segment.write_bytes(damaged)
        assert read_segment(segment) == ([record(0), record(1)], False)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_full_disk_costs_inputs_first_and_then_records_but_never_raises(tmp_path: Path) -> None:
    capture = Capture(tmp_path, "one")
    capture.disk_share = 0.85
    assert capture.append(record(1))
    capture.disk_share = 0.96
    assert not capture.append(record(2))
    assert capture.dropped == 1
    capture.close()
    (segment,) = segments(tmp_path, ".seg")
    assert read_segment(segment)[0] == [{**record(1), "features": []}]


def test_a_folder_that_vanished_never_raises(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "gone", "one")
    (tmp_path / "gone").rmdir()
    assert not capture.append(record(1))
    capture.disk_share = 0.0
    capture._stop.set()


WRITER = """
import sys
from pathlib import Path
from deployments.gateway.capture import Capture
capture = Capture(Path(sys.argv[1]), "killed")
for number in range(1000):
    capture.append({"id": str(number)})
    print(number, flush=True)
input()
"""


@pytest.mark.processes
def test_a_killed_gateway_loses_no_answered_prediction_and_its_segment_is_adopted(
    tmp_path: Path,
) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert writer.stdout is not None
    for _ in range(500):
        last = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    (left,) = segments(tmp_path, ".open")
    found, _ = read_segment(left)
    assert len(found) >= last + 1
    adopt(tmp_path)
    assert segments(tmp_path, ".open"), "too young to be called abandoned"
    age(left)
    adopt(tmp_path)
    assert [path.name for path in segments(tmp_path, ".seg")] == [left.with_suffix(".seg").name]


def test_the_segment_of_a_living_gateway_is_left_alone(tmp_path: Path) -> None:
    capture = Capture(tmp_path, "alive")
    capture.append(record(1))
    (segment,) = segments(tmp_path, ".open")
    age(segment)
    adopt(tmp_path)
    assert segment.exists()
    capture.close()


def age(path: Path) -> None:
    long_ago = time.time() - ABANDONED_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
