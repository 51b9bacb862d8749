"""Playing the example of `examples/` against the running installation."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import IO

from controlplane.local import variables
from controlplane.local.installation import Installation
from controlplane.local.supervision import Supervisor
from controlplane.local.terminal import say, step


def play(installation: Installation, supervisor: Supervisor) -> bool:
    """Play the story, its progress on the terminal and in the log; return whether it went well.

    The story is a user like any other: it gets the file with the people and no secret of ours.
    A story that was played before knows it, and ends at once.

    Raises:
        SetupError: a process that the story needs ends again and again.
    """
    home = installation.home
    log = home.log / "story.log"
    environment = variables.common(home, installation.ports)
    environment["PYTHONPATH"] = str(home.clone / "cli")
    environment["GATEHOUSE_DEMO_JSON"] = str(home.people_file)
    with log.open("w") as copy:
        child = subprocess.Popen(
            [sys.executable, "examples/story.py"],
            cwd=home.clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if child.stdout is None:
            raise AssertionError("the pipe was asked for")
        reader = threading.Thread(target=_show, args=(child.stdout, copy), daemon=True)
        reader.start()
        try:
            while child.poll() is None:
                # Without this, the story would wait for a worker that never comes up.
                supervisor.require_steady()
                time.sleep(0.2)
        finally:
            child.kill()
            child.wait()
            reader.join(timeout=5)
    has_played = child.returncode == 0
    step("the story is complete" if has_played else f"the story failed. Log: {log}")
    return has_played


def _show(lines: IO[str], copy: IO[str]) -> None:
    for line in lines:
        copy.write(line)
        copy.flush()
        say(f"          {line.rstrip()}")
