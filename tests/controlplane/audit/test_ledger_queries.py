"""What people read of the ledger, and that it is only what they may."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.accounts.models import User, Workspace
from controlplane.audit import connections, queries, tasks, verification
from controlplane.audit import services as audit
from controlplane.audit.payloads import ObjectRef
from controlplane.audit.scopes import AuditScope
from controlplane.audit.sealer import Sealer
from controlplane.audit.sealer_files import SealerFiles
from controlplane.core import clock
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.errors import Invalid, NotFound, NotPermitted
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])
# Emptying all tables afterwards costs a second: only where commits matter.
with_commits = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])
ALL = AuditScope.all()


@pytest.fixture
def workspace() -> Workspace:
    return make.workspace()


@pytest.fixture
def ana(workspace: Workspace) -> User:
    return make.person(workspace=workspace, display_name="Ana Ilves")


@pytest.fixture
def sealer() -> Iterator[Sealer]:
    with connections.connect("sealer") as own:
        made = Sealer(own, SealerFiles(settings.LEDGER_STATE_DIR))
        made.open()
        yield made


def _acting(user: User) -> Actor:
    return Actor(id=user.actor_id, kind=ActorKind.HUMAN, user_id=user.pk, auth="password")


def _model(workspace: Workspace) -> ObjectRef:
    return ObjectRef("model", str(uuid.uuid4()), "churn", workspace.pk)


def _record(actor: Actor, obj: ObjectRef, action: str = "model.update", **more: Any) -> uuid.UUID:
    return audit.record(action, actor=actor, obj=obj, **more)


def _seal(sealer: Sealer) -> None:
    while sealer.seal():
        pass


def _ids(page: queries.Page) -> list[uuid.UUID]:
    return [entry.id for entry in page.entries]


@with_commits
def test_entries_read_as_sentences_with_the_names_of_people(
    workspace: Workspace, ana: User
) -> None:
    obj = _model(workspace)
    _record(_acting(ana), obj, reason="Better")
    audit.record_refusal(
        "model.retire", actor=_acting(ana), obj=obj, error=NotPermitted("It is live.")
    )
    refused, done = queries.for_object(ALL, obj.type, obj.id)
    assert done.sentence == "Ana Ilves changed the model churn"
    assert (done.outcome_word, done.reason, done.number) == ("done", "Better", None)
    assert refused.sentence == "Ana Ilves tried to retire churn and was refused"
    assert (refused.outcome_word, refused.reason) == ("denied", "It is live.")
    assert (refused.code, refused.workspace_id) == ("not_permitted", workspace.pk)


def test_people_who_are_the_object_are_named_too(workspace: Workspace, ana: User) -> None:
    obj = ObjectRef("user", str(ana.pk), ana.actor_id, workspace.pk)
    audit.record("person.deactivate", actor=Actor.system("tests"), obj=obj)
    newest = queries.for_object(ALL, "user", str(ana.pk))[0]
    assert newest.sentence == "Gatehouse shut Ana Ilves out"


def test_pages_follow_each_other_without_gap_or_double(workspace: Workspace, ana: User) -> None:
    obj = _model(workspace)
    recorded = [_record(_acting(ana), obj) for _ in range(7)]
    seen: list[uuid.UUID] = []
    cursor = None
    for size in (3, 3, 1):
        page = queries.page(ALL, object=(obj.type, obj.id), cursor=cursor, limit=3)
        assert len(page.entries) == size
        seen += _ids(page)
        cursor = page.next_cursor
    assert cursor is None
    assert seen == recorded[::-1]


def test_a_page_costs_the_same_queries_however_long_it_is(workspace: Workspace, ana: User) -> None:
    obj = _model(workspace)
    for _ in range(20):
        _record(_acting(ana), obj)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        queries.page(ALL, object=(obj.type, obj.id), limit=20)
    assert len(captured) == 4


def test_filters_narrow_the_page(workspace: Workspace, ana: User) -> None:
    obj = _model(workspace)
    first = _record(_acting(ana), obj, "model.create")
    second = _record(Actor.system("tests"), obj, outcome="failed")

    def found(**filters: Any) -> list[uuid.UUID]:
        return _ids(queries.page(ALL, object=(obj.type, obj.id), **filters))

    assert found(actor_id=ana.actor_id) == [first]
    assert found(action="model.create") == [first]
    assert found(action="model.*") == [second, first]
    assert found(action="promotion.*") == []
    assert found(outcome="failed") == [second]
    assert found(workspace_id=workspace.pk) == [second, first]
    assert found(workspace_id=workspace.pk + 1) == []
    assert found(since=clock.now()) == []
    assert found(until=clock.now() - timedelta(minutes=1)) == []


@pytest.mark.parametrize(
    "wrong", [{"cursor": "x"}, {"cursor": "MjAyNg"}, {"limit": 0}, {"limit": 201}, {"outcome": "?"}]
)
def test_a_wrong_question_is_refused_with_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        queries.page(ALL, **wrong)


def test_one_sees_ones_workspaces_and_ones_own_acts(workspace: Workspace, ana: User) -> None:
    other = make.workspace()
    ben = make.person(workspace=other)
    here, there = _model(workspace), _model(other)
    mine = _record(_acting(ana), there)
    theirs = _record(_acting(ben), there)
    ours = _record(_acting(ben), here)
    asked = {mine, theirs, ours}

    def visible(scope: AuditScope) -> set[uuid.UUID]:
        return asked & set(_ids(queries.page(scope, limit=50)))

    assert visible(ALL) == asked
    assert visible(AuditScope(workspaces=frozenset({workspace.pk}))) == {ours}
    assert visible(AuditScope(actor_id=ana.actor_id)) == {mine}
    assert visible(AuditScope(workspaces=frozenset({workspace.pk}), actor_id=ana.actor_id)) == {
        mine,
        ours,
    }
    assert visible(AuditScope()) == set()
    with pytest.raises(NotFound, match=f"There is no entry {theirs}"):
        queries.entry(AuditScope(actor_id=ana.actor_id), theirs)


@with_commits
def test_an_entry_shows_its_bytes_and_where_it_is_included(
    workspace: Workspace, ana: User, sealer: Sealer
) -> None:
    event_id = _record(_acting(ana), _model(workspace), reason="Better")
    waiting = queries.entry(ALL, event_id)
    assert (waiting.entry.number, waiting.checkpoint_size, waiting.note) == (None, None, "")
    _seal(sealer)
    detail = queries.entry(ALL, str(event_id))
    assert detail.entry.number == detail.leaf_index + 1 == sealer.size  # type: ignore[operator]
    assert detail.checkpoint_size == sealer.size
    assert detail.note.splitlines()[1] == str(sealer.size)
    assert detail.personal == {"reason": "Better"}
    assert detail.erased == ()
    assert '"commit"' in detail.payload
    by_number = queries.entry(ALL, detail.entry.number)
    assert by_number.entry.id == event_id


@pytest.mark.parametrize("name", ["0", "99999999", "9" * 40, "x", str(uuid.uuid4())])
def test_an_entry_that_is_not_there_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        queries.entry(ALL, name)


@with_commits
def test_the_integrity_says_how_the_ledger_stands(
    workspace: Workspace, ana: User, sealer: Sealer
) -> None:
    _seal(sealer)
    assert sealer.is_alone()
    _record(_acting(ana), _model(workspace))
    standing = queries.integrity()
    assert (standing.size, standing.pending) == (sealer.size, 1)
    assert standing.count == sealer.size + 1
    assert standing.is_sealer_running
    assert standing.is_sealing
    assert standing.roles_separated
    assert len(standing.root) == 64
    assert standing.sealer_age_seconds is not None


@with_commits
def test_verification_is_an_entry_and_comes_hourly_from_where_it_was(
    sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _seal(sealer)
    scheduler = Actor.system("scheduler")
    cache.delete("ledger-verify-asked")
    assert [verification.ask_when_due() for _ in range(2)] == [True, False]
    full = verification.verify_now(actor=scheduler)
    assert full.findings == []
    tasks.verify()
    cache.delete("ledger-verify-asked")
    assert not verification.ask_when_due()
    last = queries.integrity().last_verify
    assert last is not None
    assert (last.is_intact, last.size, last.since, last.root) == (True, full.size, 0, full.root)

    monkeypatch.setattr(verification, "EVERY", timedelta(0))
    _seal(sealer)
    partial = verification.verify_when_due(actor=scheduler)
    assert partial is not None
    assert (partial.since, partial.size) == (full.size, full.size + 1)
    monkeypatch.setattr(verification, "IN_FULL_EVERY", timedelta(0))
    again = verification.verify_when_due(actor=scheduler)
    assert again is not None
    assert again.since == 0
