"""What a person reads when the server cannot be reached, and what is kept of a token."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.conftest import CLI
from tests.cli.portal import Portal, page, refusal

Run = Callable[..., Result]
ME = {
    "user": {"username": "engineer", "kind": "human"},
    "workspace": {"key": "main"},
    "workspaces": [{"key": "main"}],
    "verbs": ["contribute", "view"],
    "scopes": None,
}


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a shell would, with nothing else in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "gatehouse_cli", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CLI), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_refused_connection_is_one_clear_sentence(home: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = program("whoami", HOME=str(home), GATEHOUSE_URL=url, GATEHOUSE_TOKEN="gh_x")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"Nothing answers at {url}: the connection was refused. Is Gatehouse running?\n"
    )


def test_the_shell_sees_the_exit_status_of_a_refusal(portal: Portal, home: Path) -> None:
    portal.says("GET", "me", refusal(403, "This token is for predictions only."))
    result = program("whoami", HOME=str(home), GATEHOUSE_URL=portal.url, GATEHOUSE_TOKEN="gh_x")
    assert result.returncode == 10
    assert result.stderr == "This token is for predictions only.\nRequest req-7\n"


def test_a_loopback_server_is_reached_past_the_proxy_of_the_shell(
    portal: Portal, home: Path
) -> None:
    portal.says("GET", "me", (200, ME))
    proxy = f"http://127.0.0.1:{free_port()}"
    result = program(
        "whoami", HOME=str(home), GATEHOUSE_URL=portal.url, GATEHOUSE_TOKEN="gh_x", HTTP_PROXY=proxy
    )
    assert result.returncode == 0


def test_without_a_server_it_says_how_to_sign_in(home: Path) -> None:
    result = program("models", "list", HOME=str(home))
    assert result.returncode == 1
    assert "Sign in with: gatehouse login" in result.stderr


def test_another_program_at_the_address_is_told_apart(portal: Portal, run: Run) -> None:
    portal.says("GET", "models", (200, b"<html>Welcome to the wiki</html>"))
    result = run("models", "list")
    assert result.exit_code == 1
    assert result.stderr == f"What answers at {portal.url} is not Gatehouse.\n"


def test_a_redirect_is_not_followed_with_the_token(portal: Portal, run: Run) -> None:
    portal.says("GET", "models", (302, b"", {"Location": "https://elsewhere.example/"}))
    result = run("models", "list")
    assert result.exit_code == 1
    assert "sends us on to https://elsewhere.example/" in result.stderr
    assert len(portal.asked) == 1


def test_an_expired_token_is_an_error_with_the_servers_sentence(portal: Portal, run: Run) -> None:
    portal.says("GET", "me", refusal(401, "This token expired on 1 May 2026 at 10:00 UTC."))
    result = run("whoami")
    assert result.exit_code == 1
    assert "This token expired on 1 May 2026" in result.stderr


def test_login_keeps_the_token_for_its_owner_alone(
    portal: Portal, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.says("GET", "me", (200, ME))
    result = run("login", "--url", f"{portal.url}/", "--token-stdin", input="gh_human_1\n")
    assert result.exit_code == 0
    file = home / ".config" / "gatehouse" / "config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {
        "url": portal.url,
        "tokens": {portal.url: "gh_human_1"},
    }
    assert "gh_human_1" not in result.output
    monkeypatch.delenv("GATEHOUSE_URL")
    monkeypatch.delenv("GATEHOUSE_TOKEN")
    assert "engineer" in run("whoami").stdout
    assert portal.asked[-1].headers["Authorization"] == "Bearer gh_human_1"


def test_login_keeps_nothing_when_the_server_refuses_the_token(
    portal: Portal, run: Run, home: Path
) -> None:
    portal.says("GET", "me", refusal(401, "This token is unknown here."))
    result = run("login", "--url", portal.url, "--token-stdin", input="gh_human_1\n")
    assert result.exit_code == 1
    assert not (home / ".config").exists()


def test_the_variables_come_before_what_is_kept(portal: Portal, run: Run) -> None:
    portal.says("GET", "me", (200, ME))
    run("login", "--url", portal.url, "--token-stdin", input="gh_human_1\n")
    run("whoami")
    assert portal.asked[-1].headers["Authorization"] == "Bearer gh_service_x"


def test_a_kept_token_never_goes_to_another_server(
    portal: Portal, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.says("GET", "me", (200, ME))
    run("login", "--url", portal.url, "--token-stdin", input="gh_human_1\n")
    monkeypatch.delenv("GATEHOUSE_TOKEN")
    monkeypatch.setenv("GATEHOUSE_URL", "https://other.example")
    result = run("whoami")
    assert result.exit_code == 1
    assert "There is no token for https://other.example." in result.stderr


def test_a_damaged_file_is_named_and_what_to_do_about_it(home: Path) -> None:
    file = home / ".config" / "gatehouse" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    result = program("whoami", HOME=str(home))
    assert result.returncode == 1
    assert f"{file} cannot be read. Delete it" in result.stderr


def test_an_address_that_is_none_is_wrong_usage(home: Path) -> None:
    result = program("whoami", HOME=str(home), GATEHOUSE_URL="portal", GATEHOUSE_TOKEN="gh_x")
    assert result.returncode == 2
    assert "'portal' is no address of a server" in result.stderr


def test_lists_are_read_to_their_end(portal: Portal, run: Run) -> None:
    rows = [
        {
            "name": f"d{number}",
            "newest_version": number,
            "owner": "e",
            "created_at": None,
            "description": "",
        }
        for number in range(3)
    ]
    following = "http://behind-a-proxy.example/api/v1/datasets?cursor=abc&limit=100"
    portal.says("GET", "datasets", (200, {"results": rows[:2], "next": following}), page(rows[2]))
    result = run("data", "list", "--json")
    assert [row["name"] for row in json.loads(result.stdout)] == ["d0", "d1", "d2"]
    assert portal.asked[1].path == "/api/v1/datasets/?cursor=abc&limit=100"


def test_another_workspace_is_asked_for_by_header(portal: Portal, run: Run) -> None:
    portal.says("GET", "models", page())
    run("models", "list", "--workspace", "risk")
    assert portal.asked[0].headers["Gatehouse-Workspace"] == "risk"
