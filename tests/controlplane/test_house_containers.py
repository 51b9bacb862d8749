"""Procfile, docker-compose and the demo start the same processes, and each command exists."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from controlplane.local import health
from controlplane.local.home import CLONE
from controlplane.local.processes import PROCESSES, SERVERS

_NAMES = [*SERVERS, *(process.name for process in PROCESSES)]
_COMPOSE: dict[str, Any] = yaml.safe_load((CLONE / "docker-compose.yml").read_text())
_SERVICES: dict[str, Any] = _COMPOSE["services"]
_OURS = {name: service for name, service in _SERVICES.items() if name not in SERVERS}


def _words(command: str | list[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else list(command)


def _procfile() -> dict[str, str]:
    lines = (CLONE / "Procfile").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def _require_command(words: list[str]) -> None:
    """Fail unless the module, script and management command that the words name exist."""
    if words[:2] == ["sh", "-c"]:
        for part in words[2].split("&&"):
            _require_command(shlex.split(part))
        return
    assert words[0] == "python", words
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None, words
        spec = importlib.util.find_spec(words[2])
        if spec is not None and spec.submodule_search_locations is not None:
            assert importlib.util.find_spec(f"{words[2]}.__main__") is not None, words
    else:
        assert words[1] == "manage.py"
        assert (CLONE / "manage.py").exists()
        assert words[2] in get_commands(), words
    if "-A" in words:
        assert importlib.util.find_spec(words[words.index("-A") + 1]) is not None
    if "-c" in words:
        assert (CLONE / words[words.index("-c") + 1]).exists()
        assert importlib.util.find_spec(words[-1]) is not None


def test_all_three_lists_name_the_same_processes() -> None:
    assert list(_procfile()) == _NAMES
    assert set(_SERVICES) == {*_NAMES, "roles", "migrate"}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
def test_a_process_is_the_same_everywhere(process: Any) -> None:
    assert _procfile()[process.name] == process.command
    in_compose = _words(_SERVICES[process.name]["command"])
    assert sorted(in_compose) == sorted(process.arguments)


@pytest.mark.parametrize("name", [*_procfile()])
def test_each_command_of_the_procfile_exists(name: str) -> None:
    _require_command(shlex.split(_procfile()[name]))


@pytest.mark.parametrize("name", [*_OURS])
def test_each_command_of_compose_exists(name: str) -> None:
    _require_command(_words(_OURS[name]["command"]))


def test_a_missing_command_would_be_noticed() -> None:
    for words in (["python", "-m", "deployments.nobody"], ["python", "manage.py", "nothing"]):
        with pytest.raises(AssertionError):
            _require_command(words)


@pytest.mark.parametrize("name", _NAMES)
def test_each_service_has_a_health_check_of_a_program_that_exists(name: str) -> None:
    test = _SERVICES[name]["healthcheck"]["test"]
    if name in SERVERS:
        assert test[1] in {"pg_isready", "redis-cli"}
    else:
        assert test[:4] == ["CMD", "python", "-m", "controlplane.local.health"]
        assert callable(getattr(health, test[4]))


@pytest.mark.parametrize("name", [*_SERVICES])
def test_no_service_runs_as_root_or_gains_rights(name: str) -> None:
    service = _SERVICES[name]
    dockerfile = (CLONE / "Dockerfile").read_text()
    default_user = re.findall(r"^USER (\w+)", dockerfile, re.MULTILINE)[-1]
    assert service.get("user", default_user) not in {"root", "0"}
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


def test_only_those_who_run_foreign_code_may_make_namespaces() -> None:
    relaxed = [
        name
        for name, service in _SERVICES.items()
        if any(option.startswith("seccomp=") for option in service["security_opt"])
    ]
    assert relaxed == ["worker-compute", "agent"]
    profile = json.loads((CLONE / "docker" / "sandbox-seccomp.json").read_text())
    refused = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert {"bpf", "kexec_load", "init_module", "ptrace", "reboot"} <= refused
    assert not refused & {"unshare", "clone", "mount", "pivot_root"}


def test_no_secret_stands_in_the_files() -> None:
    found = []
    for service in _SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            found += re.findall(r"://[^/@\s:]*:([^@]*)@", str(value))
            if re.search("PASSWORD|SECRET|AUTH", variable):
                found.append(str(value))
    assert len(found) > 10
    assert [secret for secret in found if not re.fullmatch(r"\$\{\w+:\?\}", secret)] == []


def test_each_process_of_compose_holds_only_its_own_database_password() -> None:
    for process in PROCESSES:
        environment = _SERVICES[process.name].get("environment", {})
        held = {name for name in environment if name.endswith("DATABASE_URL")}
        assert held == {name for name in process.variables if name.endswith("DATABASE_URL")}


def test_servers_are_the_versions_that_the_product_is_tested_with() -> None:
    assert _SERVICES["postgres"]["image"] == "postgres:18"
    assert _SERVICES["redis"]["image"].startswith("redis:")
    assert not any("ports" in _SERVICES[name] for name in SERVERS)
    for name in ("web", "gateway"):
        (port,) = _SERVICES[name]["ports"]
        assert port.startswith("${GATEHOUSE_LISTEN:-127.0.0.1}:")
