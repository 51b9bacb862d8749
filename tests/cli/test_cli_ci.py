"""The examples for pipelines do what they say with the real program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import CLI
from tests.cli.portal import Portal
from tests.cli.test_cli_promote import opens, promotion

EXAMPLES = CLI.parent / "examples" / "ci"


@pytest.mark.parametrize(
    ("state", "status", "sentence"),
    [
        ("completed", 0, "Live."),
        ("rejected", 11, "People said no"),
        ("blocked", 14, "A check does not pass."),
        ("rolled_back", 16, "The rollout was taken back"),
    ],
)
def test_the_shell_example_acts_on_the_exit_status(
    portal: Portal, home: Path, state: str, status: int, sentence: str
) -> None:
    opens(portal, promotion(state))
    program = home / "bin" / "gatehouse"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gatehouse_cli "$@"\n')
    program.chmod(0o755)
    result = subprocess.run(
        [EXAMPLES / "promote.sh", "reader@3", "production", "Better"],
        env={
            "HOME": str(home),
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(CLI),
            "GATEHOUSE_URL": portal.url,
            "GATEHOUSE_TOKEN": "gh_service_x",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == status
    assert sentence in result.stdout
    assert portal.requests("POST", "promotions")[0].json["reason"] == "Better"


def test_every_command_of_the_workflow_example_exists() -> None:
    from click.testing import CliRunner
    from gatehouse_cli.main import gatehouse

    workflow = yaml.safe_load((EXAMPLES / "promote.yaml").read_text())
    lines = [
        line.strip()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        for line in step.get("run", "").splitlines()
    ]
    called = [line.split()[1:3] for line in lines if line.startswith("gatehouse ")]
    assert [words[0] for words in called] == ["train", "versions", "evaluate"]
    for words in called:
        command = words[:2] if words[0] == "versions" else words[:1]
        assert CliRunner().invoke(gatehouse, [*command, "--help"]).exit_code == 0
