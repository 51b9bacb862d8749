"""The program against the product itself: a live portal, its database, people who decide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from registry.models import DatasetVersion, PromotionRequest
from registry.services import datasets, promotions, reviews
from tests import make
from tests.cli.conftest import CLI
from tests.rooms import SYSTEM, Room

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])
Program = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def program(live_server: Any, home: Path, room: Room) -> Iterator[Program]:
    """Start the program as the engineer, or as somebody else; whatever still runs is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, actor: Any = None) -> subprocess.Popen[str]:
        token = make.token(make.user_of(actor or room.engineer), room.workspace)
        child = subprocess.Popen(
            [sys.executable, "-m", "gatehouse_cli", *arguments],
            env={
                "HOME": str(home),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(CLI),
                "GATEHOUSE_URL": live_server.url,
                "GATEHOUSE_TOKEN": token,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()
    connections.close_all()


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return status, standard output and standard error."""
    out, err = child.communicate(timeout=30)
    return child.returncode, out, err


def checked(room: Room) -> PromotionRequest:
    """Return the request that the program opened, after its checks."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = PromotionRequest.objects.filter(model=room.model).first()
        if found is not None:
            return promotions.check(found.pk, actor=SYSTEM)
        time.sleep(0.1)
    raise AssertionError("the program opened no request")


def test_whoami_names_the_caller_and_what_they_may_do(program: Program, room: Room) -> None:
    status, out, _ = ended(program("whoami"))
    assert status == 0
    assert make.user_of(room.engineer).username in out
    assert room.workspace.key in out
    assert "contribute, propose, view" in out


def test_pushed_data_is_listed_sealed_and_the_same_again(
    program: Program, room: Room, tmp_path: Path
) -> None:
    file = tmp_path / "ink.csv"
    file.write_text("pixel,label\n1,7\n2,3\n")
    child = program("data", "push", "ink", str(file), "--note", "two rows", "--wait")
    deadline = time.monotonic() + 20
    while not (version := DatasetVersion.objects.filter(dataset__name="ink").first()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    datasets.seal(version.pk, actor=SYSTEM)

    assert ended(child) == (0, "ink@1 is sealed: 20 B, 2 rows.\n", "")
    assert ended(program("data", "push", "ink", str(file)))[1].startswith("ink@1 is sealed")
    shown = json.loads(ended(program("data", "show", "ink@1", "--json"))[1])
    assert [column["name"] for column in shown["schema"]] == ["pixel", "label"]
    assert "ink@1" in ended(program("data", "show", "ink"))[1]
    assert "ink" in ended(program("data", "list"))[1]


def test_models_versions_and_evidence_are_shown(program: Program, room: Room) -> None:
    room.evaluate(room.version)
    assert "reader" in ended(program("models", "list"))[1]
    assert "medium" in ended(program("models", "show", "reader"))[1]
    assert "reader@1" in ended(program("versions", "list", "reader"))[1]
    status, out, err = ended(program("versions", "show", "reader@1"))
    assert (status, err) == (0, "")
    assert "model.skops" in out
    assert "0.9500 to 0.9500" in out


def test_a_rejected_promotion_ends_with_11_and_the_reviewers_words(
    program: Program, room: Room
) -> None:
    room.evaluate(room.version)
    child = program("promote", "reader@1", "--to", "production", "--wait", "--timeout", "25")
    promotion = checked(room)
    reviews.reject(
        promotion.pk,
        actor=room.approver,
        subject_digest=promotion.subject_digest,
        text="Evaluate it on faint ink first.",
    )
    status, out, _ = ended(child)
    assert status == 11
    assert "Evaluate it on faint ink first." in out


def test_changes_withdrawal_and_a_failed_gate_have_their_own_status(
    program: Program, room: Room
) -> None:
    asks = ("promote", "reader@1", "--to", "production", "--wait", "--timeout", "25")
    child = program(*asks)
    blocked = checked(room)
    status, out, _ = ended(child)
    assert (blocked.state, status) == ("blocked", 14)
    assert "No evaluation of this version is recorded." in out

    room.evaluate(room.version)
    promotions.recheck_open(room.version.pk, actor=SYSTEM)
    promotion = promotions.check(blocked.pk, actor=SYSTEM)
    child = program(*asks)
    reviews.request_changes(
        promotion.pk,
        actor=room.approver,
        subject_digest=promotion.subject_digest,
        text="Say what the new version is for.",
    )
    status, out, err = ended(child)
    assert status == 12
    assert f"{promotion} stands for this version already" in err

    child = program(*asks[:-3])
    assert ended(child)[0] == 0
    promotions.withdraw(promotion.pk, actor=room.engineer, reason="Another one is better.")
    assert ended(program("promotions", "list", "--state", "closed"))[1].count("withdrawn") == 1


def test_nobody_decides_in_time_and_the_request_stays_open(program: Program, room: Room) -> None:
    room.requested()
    status, out, _ = ended(
        program("promote", "reader@1", "--to", "production", "--wait", "--timeout", "1")
    )
    assert status == 15
    assert "still in review" in out
    assert PromotionRequest.objects.get(model=room.model).state == "in_review"


def test_a_viewer_may_not_ask_and_the_refusal_is_recorded(program: Program, room: Room) -> None:
    viewer = make.acting(make.person("viewer", workspace=room.workspace), room.workspace)
    before = make.audited(room.version, "promotion.request", "refused")
    status, out, err = ended(program("promote", "reader@1", "--to", "production", actor=viewer))
    assert (status, out) == (10, "")
    assert "propose" in err
    assert "Request " in err
    assert make.audited(room.version, "promotion.request", "refused") == before + 1


def test_what_is_not_there_is_named_in_one_sentence(program: Program) -> None:
    status, _, err = ended(program("promote", "reader@9", "--to", "production"))
    assert status == 1
    assert "reader" in err and "9" in err
    status, _, err = ended(program("promote", "reader@1", "--to", "moon"))
    assert status == 1
    assert "There is no environment 'moon'" in err
