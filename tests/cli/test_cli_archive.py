"""A source folder is packed the same way every time, without what does not belong to it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest


def names(root: Path) -> list[str]:
    from gatehouse_cli.archive import source_files

    return [path.relative_to(root).as_posix() for path in source_files(root)]


def write(root: Path, name: str, content: str = "x") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_the_same_files_give_the_same_bytes_whatever_their_times(tmp_path: Path) -> None:
    from gatehouse_cli.archive import pack

    for place, moment in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        root = tmp_path / place
        for name in ("train.py", "lib/b.py", "lib/a.py"):
            write(root, name, name)
            os.utime(root / name, (moment, moment))
        pack(root, tmp_path / f"{place}.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


def test_a_packed_folder_says_nothing_of_who_packed_it(tmp_path: Path) -> None:
    from gatehouse_cli.archive import pack

    write(tmp_path / "src", "run.sh")
    (tmp_path / "src" / "run.sh").chmod(0o700)
    write(tmp_path / "src", "train.py")
    assert pack(tmp_path / "src", tmp_path / "a.tar.gz") == 2
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        members = {member.name: member for member in tar}
    assert members["run.sh"].mode == 0o755
    assert members["train.py"].mode == 0o644
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members.values()} == {(0, 0, 0, "")}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("", ["data/big.csv", "docs/a/b.md", "out/model.pkl", "train.py"]),
        ("*.csv", ["docs/a/b.md", "out/model.pkl", "train.py"]),
        ("out/", ["data/big.csv", "docs/a/b.md", "train.py"]),
        ("/train.py", ["data/big.csv", "docs/a/b.md", "out/model.pkl"]),
        ("/b.md", ["data/big.csv", "docs/a/b.md", "out/model.pkl", "train.py"]),
        ("docs/**/b.md", ["data/big.csv", "out/model.pkl", "train.py"]),
        ("[do]*", ["train.py"]),
        ("*\n!train.py", ["train.py"]),
        ("# a comment\n\nout\n!out", ["data/big.csv", "docs/a/b.md", "out/model.pkl", "train.py"]),
        ("train.??", ["data/big.csv", "docs/a/b.md", "out/model.pkl"]),
    ],
)
def test_ignore_files_are_read_as_git_reads_them(
    tmp_path: Path, rules: str, kept: list[str]
) -> None:
    for name in ("train.py", "data/big.csv", "out/model.pkl", "docs/a/b.md"):
        write(tmp_path, name)
    write(tmp_path, ".gatehouseignore", f".gatehouseignore\n{rules}")
    assert [name for name in names(tmp_path) if name != ".gatehouseignore"] == kept


def test_caches_and_version_control_are_never_packed(tmp_path: Path) -> None:
    for name in (".git/HEAD", "__pycache__/a.pyc", "lib/a.pyc", ".venv/bin/python", "train.py"):
        write(tmp_path, name)
    write(tmp_path, ".gitignore", "!.git/\n!__pycache__/\n.gitignore")
    assert names(tmp_path) == ["train.py"]


def test_a_folder_above_the_limit_is_refused_with_its_largest_file(tmp_path: Path) -> None:
    from gatehouse_cli.archive import pack
    from gatehouse_cli.errors import GatehouseError

    write(tmp_path, "train.py")
    write(tmp_path, "weights.bin", "x" * 2 * 2**20)
    with pytest.raises(GatehouseError, match=r"2\.0 MiB of source, more than 1 MiB.*weights\.bin"):
        pack(tmp_path, tmp_path / "a.tar.gz", limit_bytes=2**20)
    assert not (tmp_path / "a.tar.gz").exists()


def test_a_link_within_the_folder_becomes_the_file_and_one_out_of_it_is_refused(
    tmp_path: Path,
) -> None:
    from gatehouse_cli.archive import pack
    from gatehouse_cli.errors import GatehouseError

    root = tmp_path / "src"
    write(root, "config.py", "real")
    (root / "link.py").symlink_to("config.py")
    pack(root, tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        linked = tar.extractfile("link.py")
        assert linked is not None
        assert linked.read() == b"real"
    (root / "out.py").symlink_to("/etc/hostname")
    with pytest.raises(GatehouseError, match=r"out\.py is a link that leads to no file"):
        pack(root, tmp_path / "b.tar.gz")


def test_a_folder_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    from gatehouse_cli.archive import pack
    from gatehouse_cli.errors import GatehouseError

    write(tmp_path, "__pycache__/a.pyc")
    with pytest.raises(GatehouseError, match="everything in it is excluded"):
        pack(tmp_path, tmp_path / "a.tar.gz")
