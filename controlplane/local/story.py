"""Playing the example of `examples/` against the running installation."""

from __future__ import annotations

import subprocess
import sys

from controlplane.local import variables
from controlplane.local.installation import Installation
from controlplane.local.terminal import say, step


def play(installation: Installation) -> bool:
    """Play the story, its progress on the terminal and in the log; return whether it went well.

    The story is a user like any other: it gets the file with the people and no secret of ours.
    A story that was played before knows it, and ends at once.
    """
    home = installation.home
    log = home.log / "story.log"
    environment = variables.common(home, installation.ports)
    environment["GATEHOUSE_DEMO_JSON"] = str(home.people_file)
    with log.open("w") as stream:
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
        try:
            if child.stdout is not None:
                for line in child.stdout:
                    stream.write(line)
                    stream.flush()
                    say(f"          {line.rstrip()}")
            has_played = child.wait() == 0
        finally:
            child.kill()
            child.wait()
    step("the story is complete" if has_played else f"the story failed. Log: {log}")
    return has_played
