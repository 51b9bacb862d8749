"""What a job's specification may say, and what a source may hold."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from controlplane.core.errors import Invalid
from controlplane.jobs import archives, gpus, spec
from controlplane.jobs.archives import ArchiveRefused

DIGEST = "ab" * 32
LOCK = f"six==1.17.0 --hash=sha256:{DIGEST}\n"


def test_a_specification_comes_back_as_it_was_given() -> None:
    given = {
        "command": ["python", "train.py"],
        "lock": LOCK,
        "python": "3.11",
        "source": {"kind": "tar", "sha256": DIGEST},
        "inputs": [{"name": "train", "dataset": "digits@3", "path": "data/./train.csv"}],
        "resources": {"cpus": 2, "memory_mb": 2000, "timeout_seconds": 60},
        "environment": {"MODE": "fast"},
        "extra": {"experiment": "digits"},
    }
    parsed = spec.parse(given)
    assert parsed.inputs == (spec.Input("train", "digits", 3, "data/train.csv"),)
    assert spec.parse(parsed.to_json()) == parsed
    assert spec.parse(parsed.to_json()).digest == parsed.digest
    assert parsed.lock_digest == spec.parse({"command": ["x"], "lock": f"# a\n{LOCK}"}).lock_digest


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        ({"command": "python train.py"}, "command", "The command is a list of words"),
        ({"command": []}, "command", "The command is a list of words"),
        ({"command": [""]}, "command", "the program, is empty"),
        ({"command": ["x"] * 201}, "command", "more than 200 words"),
        ({"lock": "six==1.17.0"}, "lock", "The lock has no hash for 'six==1.17.0'"),
        ({"python": "2.7"}, "python", "'2.7' is not a Python version"),
        ({"source": {"kind": "git", "url": "x"}}, "source", "not offered in this installation"),
        ({"source": {"kind": "zip"}}, "source", "There is no kind of source 'zip'"),
        ({"source": {"kind": "tar", "sha256": "x"}}, "source", "64 hexadecimal digits"),
        ({"inputs": [{"name": "a", "dataset": "d"}]}, "inputs.0", "names no version of d"),
        ({"inputs": [{"name": "a", "dataset": "d@x"}]}, "inputs.0", "names no version of d"),
        (
            {"inputs": [{"name": "a", "dataset": "d@1", "path": "../x"}]},
            "inputs.0",
            "must lead below the working folder",
        ),
        ({"inputs": [{"name": "a", "dataset": "d@1"}] * 2}, "inputs", "Two inputs have the name"),
        ({"resources": {"memory_mb": "much"}}, "resources", "memory_mb is a whole number from 64"),
        ({"resources": {"disks": 1}}, "resources", "There is no resource 'disks'"),
        ({"environment": {"MLFLOW_TRACKING_URI": "x"}}, "environment", "is set by Gatehouse"),
        ({"environment": {"LD_PRELOAD": "x"}}, "environment", "is set by Gatehouse"),
        ({"environment": {"lower": "x"}}, "environment", "is no name of a variable"),
        ({"extra": {"text": "a\0b"}}, "spec", "may hold no NUL character"),
        ({"colour": "red"}, "colour", "There is no field 'colour'"),
    ],
)
def test_a_wrong_specification_is_refused_with_the_field_and_a_sentence(
    change: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(Invalid, match=sentence) as refused:
        spec.parse({"command": ["true"], **change})
    assert list(refused.value.details["fields"]) == [field]


def _archive(folder: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    path = folder / "source.tar"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = link
    member.mode = 0o4777
    return member


def test_a_source_is_unpacked_without_special_bits(tmp_path: Path) -> None:
    target = tmp_path / "work"
    target.mkdir()
    folder = (_member("./code", kind=tarfile.DIRTYPE), b"")
    archive = _archive(tmp_path, folder, (_member("./code/a.py"), b"print()"))
    assert archives.unpack(archive, target) == 1
    assert (target / "code" / "a.py").read_bytes() == b"print()"
    assert (target / "code" / "a.py").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([_member("../out")], "which leads out of it"),
        ([_member("/etc/cron.d/x")], "which leads out of it"),
        ([_member("link", kind=tarfile.SYMTYPE, link="/etc")], "a link or a device"),
        ([_member("link", kind=tarfile.LNKTYPE, link="a")], "a link or a device"),
        ([_member("null", kind=tarfile.CHRTYPE)], "a link or a device"),
        ([_member("pipe", kind=tarfile.FIFOTYPE)], "a link or a device"),
        ([_member("a"), _member("./a")], "'a' twice"),
        ([_member("a"), _member("a/b")], "cannot be unpacked"),
        ([_member(f"f{number}") for number in range(10_001)], "more than 10,000 members"),
    ],
)
def test_a_source_that_could_do_harm_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo], sentence: str
) -> None:
    target = tmp_path / "work"
    target.mkdir()
    archive = _archive(tmp_path, *((member, b"") for member in members))
    with pytest.raises(ArchiveRefused, match=sentence):
        archives.unpack(archive, target)
    assert not (tmp_path / "out").exists()


def test_a_source_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "work"
    target.mkdir()
    archive = _archive(tmp_path, (_member("zeros"), bytes(60 * 2**20)))
    assert archive.stat().st_size < 100_000
    with pytest.raises(ArchiveRefused, match="too large once it is unpacked"):
        archives.unpack(archive, target)


def test_a_damaged_source_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "work"
    target.mkdir()
    archive = _archive(tmp_path, (_member("a"), b"x" * 5000))
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ArchiveRefused, match="cannot be unpacked"):
        archives.unpack(archive, target)


def test_a_lent_processor_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.SLOTS_VARIABLE, "2")
    gpus.identifiers.cache_clear()
    try:
        with gpus.lend(1) as first, gpus.lend(1) as second:
            assert {*first, *second} == {"0", "1"}
            assert gpus.count_free() == 0
            with pytest.raises(gpus.NoneFree), gpus.lend(1):
                pass
        assert gpus.count_free() == 2
    finally:
        gpus.identifiers.cache_clear()


def test_without_a_driver_there_are_no_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.SLOTS_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    gpus.identifiers.cache_clear()
    try:
        assert gpus.identifiers() == ()
        with gpus.lend(0) as none:
            assert none == ()
    finally:
        gpus.identifiers.cache_clear()
