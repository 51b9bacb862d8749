"""The first administrator, the auditors, and the people of the demo."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from controlplane.access import services as access
from controlplane.accounts import tokens
from controlplane.accounts.models import ApiToken, User, Workspace
from controlplane.core.errors import NotSignedIn
from registry.models import Environment
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])
URLS = ("--url", "http://127.0.0.1:8000", "--gateway-url", "http://127.0.0.1:8100")
VERBS = {
    "engineer": {"view", "contribute", "propose"},
    "approver": {"view", "review_ml", "audit_read"},
    "risk": {"view", "review_risk", "audit_read"},
    "operator": {"view", "propose", "operate", "audit_read"},
    "auditor": {"view", "audit_read"},
    "admin": {"view", "configure", "admin_access", "audit_read"},
    "ci": {"view", "contribute", "propose"},
}


def prepare(file: Path) -> dict[str, Any]:
    call_command("bootstrap_demo", *URLS, "--output", str(file), verbosity=0)
    content: dict[str, Any] = json.loads(file.read_text())
    return content


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "demo.json"


def test_the_demos_people_can_do_what_their_roles_say(file: Path) -> None:
    content = prepare(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert content["url"] == "http://127.0.0.1:8000"
    assert content["gateway_url"] == "http://127.0.0.1:8100"
    space = Workspace.objects.get(key="demo")
    assert space.name == "Nordhaven"
    assert {person["username"] for person in content["people"]} == set(VERBS)
    for person in content["people"]:
        actor = tokens.authenticate(person["token"])
        assert access.verbs_on(actor, space) == VERBS[person["username"]], person["username"]
        user = User.objects.get(username=person["username"])
        if person["username"] == "ci":
            assert "password" not in person
            assert actor.on_behalf_of == User.objects.get(username="engineer").actor_id
        else:
            assert user.check_password(person["password"])
    assert Environment.objects.filter(workspace=space, key="production").exists()


def test_a_second_start_keeps_every_password_and_token(file: Path) -> None:
    first = prepare(file)
    assert prepare(file) == first
    assert ApiToken.objects.filter(workspace__key="demo").count() == len(VERBS)


def test_a_token_that_no_longer_works_is_replaced(file: Path) -> None:
    first = prepare(file)
    ApiToken.objects.filter(user__username="ci").update(revoked_at="2020-01-01T00:00:00Z")
    second = prepare(file)
    before, after = (
        next(person["token"] for person in content["people"] if person["username"] == "ci")
        for content in (first, second)
    )
    assert before != after
    with pytest.raises(NotSignedIn):
        tokens.authenticate(before)
    assert tokens.authenticate(after).label == "Build pipeline"


def test_without_the_file_everybody_gets_a_new_password(file: Path) -> None:
    first = prepare(file)
    file.unlink()
    second = prepare(file)
    for old, new in zip(first["people"], second["people"], strict=True):
        if "password" in new:
            assert old["password"] != new["password"]
            assert User.objects.get(username=new["username"]).check_password(new["password"])


def test_the_first_administrator_can_administer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_ADMIN_PASSWORD", make.PASSWORD)
    key, name = make.a_name("ws"), make.a_name("root")
    arguments = ("--workspace", key, "--username", name, "--display-name", "Ada")
    call_command("bootstrap", *arguments, verbosity=0)
    root = User.objects.get(username=name)
    space = Workspace.objects.get(key=key)
    assert access.can(make.acting(root), "admin_access", space).allowed
    assert not root.is_superuser
    with pytest.raises(CommandError, match="is taken"):
        call_command("bootstrap", *arguments, verbosity=0)


def test_a_weak_password_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_ADMIN_PASSWORD", "short")
    key = make.a_name("ws")
    with pytest.raises(CommandError, match="too weak"):
        call_command("bootstrap", "--workspace", key, "--username", "root", verbosity=0)
    assert not Workspace.objects.filter(key=key).exists()


def test_an_auditor_is_made_and_ended_on_the_server() -> None:
    space = make.workspace()
    ana = make.person(workspace=make.workspace())
    call_command("auditor", ana.username, "--reason", "yearly audit", verbosity=0)
    assert access.can(make.acting(ana, space), "view", space).allowed
    with pytest.raises(CommandError, match="already"):
        call_command("auditor", ana.username, "--reason", "again", verbosity=0)
    call_command("auditor", ana.username, "--reason", "done", "--end", verbosity=0)
    assert not access.can(make.acting(ana, space), "view", space).allowed
    with pytest.raises(CommandError, match="no person"):
        call_command("auditor", "nobody-here", "--reason", "x", verbosity=0)
