"""Tables fit the terminal, and colours stay out of files."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.cli.conftest import CLI

TABLE = (
    "from gatehouse_cli import output;"
    "output.show_table(['model', 'state', 'says'], [['reader', 'sealed', 'word ' * 40]], empty='')"
)
GREEN = "\x1b[32m"


def on_terminal(code: str, *, columns: int, **environment: str) -> list[str]:
    """Return the lines that a program writes to a terminal of that width."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=theirs,
        env={"PYTHONPATH": str(CLI), "COLUMNS": str(columns), **environment},
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
    except OSError:
        pass  # Linux says EIO when the other side has gone
    os.close(ours)
    assert child.wait() == 0
    return written.decode().splitlines()


def test_a_table_is_never_wider_than_the_terminal() -> None:
    lines = on_terminal(TABLE, columns=50, NO_COLOR="1")
    assert max(len(line) for line in lines) == 50
    assert lines[1].endswith("…")


def test_states_are_coloured_on_a_terminal() -> None:
    assert any(f"{GREEN}sealed" in line for line in on_terminal(TABLE, columns=80))


def test_no_color_turns_colours_off() -> None:
    assert "\x1b" not in "".join(on_terminal(TABLE, columns=80, NO_COLOR="1"))


def test_a_file_gets_whole_texts_without_colours() -> None:
    written = subprocess.run(
        [sys.executable, "-c", TABLE],
        env={"PYTHONPATH": str(CLI), "COLUMNS": "50"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "\x1b" not in written
    assert ("word " * 40).strip() in written


def test_no_line_ends_with_blanks() -> None:
    code = (
        "from gatehouse_cli import output;"
        "output.show_table(['name', 'says'], [['a', 'long text'], ['b', '-']], empty='')"
    )
    written = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(CLI)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert written == "NAME  SAYS\na     long text\nb     -\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (1234567, "1,234,567"), (-0.25, "−0.25"), (True, "yes"), (["a", "b"], "a, b")],
)
def test_values_read_as_on_the_pages(value: object, text: str) -> None:
    from gatehouse_cli.output import as_text

    assert as_text(value) == text
