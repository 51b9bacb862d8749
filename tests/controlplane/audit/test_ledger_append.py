"""An event exists exactly if its change does, and a refusal whatever becomes of the change."""

from __future__ import annotations

import importlib
import json
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import psycopg2
import pytest
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, IntegrityError, connection, connections, transaction

from controlplane.audit import connections as plain
from controlplane.audit import erasure
from controlplane.audit import services as audit
from controlplane.audit.models import Event, PersonalValue, RepeatedRefusal
from controlplane.audit.payloads import ObjectRef
from controlplane.audit.sealer import Sealer
from controlplane.audit.sealer_files import SealerFiles
from controlplane.core import clock
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.errors import Invalid, NotFound, NotPermitted
from controlplane.database import roles
from registry.models import Model, ModelVersion
from tests import make
from tests.controlplane.audit import ledgers
from tests.controlplane.audit.ledgers import ANA, Ledger

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])
# Emptying all tables afterwards costs a second: only where commits matter.
with_commits = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])


@pytest.fixture
def obj() -> ObjectRef:
    """A record of its own, so that counts are of this test."""
    return ObjectRef("model", str(uuid.uuid4()), "churn", None)


def _about(obj: ObjectRef) -> list[dict[str, Any]]:
    """Return what stands in the ledger, as the connection for refusals sees it."""
    events = Event.objects.using("ledger").filter(object_type=obj.type, object_id=obj.id)
    return [json.loads(event.payload) for event in events.order_by("at", "id")]


def _refuse(obj: ObjectRef, actor: Actor = ANA, sentence: str = "Not you.") -> uuid.UUID | None:
    return audit.record_refusal("model.update", actor=actor, obj=obj, error=NotPermitted(sentence))


def test_an_event_is_stored_with_its_copies_and_waits_for_its_number(obj: ObjectRef) -> None:
    event_id = audit.record("model.update", actor=ANA, obj=obj, reason="Because", workspace_id=5)
    event = Event.objects.get(id=event_id)
    assert (event.actor, event.action, event.outcome) == ("user:7", "model.update", "success")
    assert (event.object_type, event.object_id, event.workspace) == ("model", obj.id, 5)
    reason = PersonalValue.objects.get(event_id=event_id, path="reason")
    assert json.loads(reason.value) == "Because"
    assert audit.seals_for([event_id]) == {}


@with_commits
def test_it_is_undone_with_the_change(obj: ObjectRef) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        audit.record("model.update", actor=ANA, obj=obj)
        raise RuntimeError
    assert _about(obj) == []


@with_commits
def test_a_refusal_survives_the_rollback_of_what_was_refused(obj: ObjectRef) -> None:
    with pytest.raises(NotPermitted), transaction.atomic(), transaction.atomic():
        audit.record("model.create", actor=ANA, obj=obj)
        _refuse(obj)
        raise NotPermitted("Not you.")
    (refused,) = _about(obj)
    assert (refused["action"], refused["outcome"]) == ("model.update", "refused")
    assert refused["code"] == "not_permitted"
    value = PersonalValue.objects.get(event_id=refused["id"], path="reason").value
    assert json.loads(value) == "Not you."


def test_repeats_are_counted_and_become_one_event(obj: ObjectRef) -> None:
    assert _refuse(obj) is not None
    assert [_refuse(obj) for _ in range(4)] == [None] * 4
    assert audit.flush_refusals() == 0, "its minute is not over"
    _let_the_minute_pass()
    assert audit.flush_refusals() == 1
    first, repeats = _about(obj)
    assert first["after"] == {}
    assert repeats["after"]["repeats"] == 4
    for name in ("actor", "object", "code", "action", "outcome"):
        assert repeats[name] == first[name]
    assert audit.flush_refusals() == 0


def test_the_next_refusal_after_the_minute_writes_the_count_too(obj: ObjectRef) -> None:
    _refuse(obj)
    _refuse(obj)
    _let_the_minute_pass()
    assert _refuse(obj) is not None
    assert [event["after"].get("repeats") for event in _about(obj)] == [None, 1, None]


def test_other_people_objects_actions_and_codes_are_other_refusals(obj: ObjectRef) -> None:
    ben = Actor(id="user:8", kind=ActorKind.HUMAN)
    _refuse(obj)
    assert _refuse(obj, actor=ben) is not None
    assert audit.record_refusal(
        "model.update", actor=ANA, obj=obj, error=Invalid("The name is empty.")
    )
    assert audit.record_refusal("model.retire", actor=ANA, obj=obj, error=NotPermitted("No."))
    assert len(_about(obj)) == 4


def test_strangers_are_counted_together_whatever_they_ask_for(obj: ObjectRef) -> None:
    RepeatedRefusal.objects.using("ledger").all().delete()
    other = ObjectRef("model", "another", "x", None)
    stranger = Actor.anonymous(ip="10.0.0.1")
    assert _refuse(obj, actor=stranger) is not None
    assert _refuse(other, actor=Actor.anonymous(ip="10.0.0.2")) is None


@with_commits
def test_a_flood_from_many_threads_is_one_event(obj: ObjectRef) -> None:
    recorded: list[uuid.UUID | None] = []

    def flood() -> None:
        try:
            recorded.extend(_refuse(obj) for _ in range(5))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=flood) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recorded) == 30
    assert len([event_id for event_id in recorded if event_id]) == len(_about(obj)) == 1
    assert (
        RepeatedRefusal.objects.using("ledger").filter(payload__object__id=obj.id).get().repeats
        == 29
    )


@pytest.mark.parametrize("seconds", [-61, 61, -86_400])
def test_a_clock_that_is_a_minute_off_is_refused(
    obj: ObjectRef, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = clock.now() + timedelta(seconds=seconds)
    monkeypatch.setattr(clock, "now", lambda: wrong)
    with pytest.raises(IntegrityError, match="more than 60 s apart"), transaction.atomic():
        audit.record("model.update", actor=ANA, obj=obj)


def test_the_same_id_is_never_taken_twice(ledger: Ledger) -> None:
    new = ledgers.event()
    ledger.append(new)
    with pytest.raises(psycopg.errors.UniqueViolation):
        ledger.append(new)
    ledger.seal()
    with pytest.raises(psycopg.errors.UniqueViolation, match="is in the ledger already"):
        ledger.append(new)


def test_a_personal_value_must_be_the_one_committed_to(obj: ObjectRef) -> None:
    event = audit.compose("model.update", actor=ANA, obj=obj)
    forged = event.personal.replace("10.1.2.3", "10.9.9.9")
    with (
        pytest.raises(IntegrityError, match="does not match"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(audit.APPEND, [event.payload, forged])


def test_the_application_cannot_store_events_past_the_function() -> None:
    with (
        pytest.raises(DatabaseError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO ledger.event (id, at, payload) VALUES (%s, now(), '{}')", [uuid.uuid4()]
        )


def test_another_driver_appends_in_its_own_transaction(obj: ObjectRef) -> None:
    """MLflow's door speaks psycopg2 and hands over the same two values."""
    event = audit.compose("experiment.create", actor=ANA, obj=obj)
    values = connection.get_connection_params()
    other = psycopg2.connect(
        dbname=values["dbname"],
        user=values["user"],
        password=values["password"],
        host=values["host"],
    )
    try:
        with other.cursor() as cursor:
            cursor.execute(audit.APPEND, [event.payload, event.personal])
        assert _about(obj) == []
        other.commit()
    finally:
        other.close()
    assert [content["id"] for content in _about(obj)] == [str(event.id)]


def test_records_name_themselves_and_their_workspace() -> None:
    workspace = make.workspace()
    assert audit.ref(workspace) == ObjectRef(
        "workspace", str(workspace.pk), str(workspace), workspace.pk
    )
    model = Model(pk=9, name="churn", workspace=workspace)
    assert audit.ref(model) == ObjectRef("model", "9", str(model), workspace.pk)
    version = ModelVersion(pk=12, model=model, number=3)
    assert audit.ref(version) == ObjectRef("modelversion", "12", str(version), workspace.pk)


def test_an_erased_value_leaves_a_ledger_that_verifies(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = ledgers.event(actor=ANA, reason="Because")
    with ledger.connect("app") as connection:
        ledgers.append(connection, new)
    ledger.seal()
    monkeypatch.setattr(plain, "parameters", ledger.parameters)
    erasure.erase(new.id, "ip", actor=ANA, reason="Asked for by the person")
    with pytest.raises(NotFound, match="has no ip that could be erased"):
        erasure.erase(new.id, "ip", actor=ANA, reason="Again")
    ledger.seal()
    with ledger.connect("app") as connection:
        rows = connection.execute(
            "SELECT path FROM ledger.personal WHERE event_id = %s ORDER BY path", [new.id]
        ).fetchall()
    assert rows == [("agent",), ("reason",)]
    report = ledger.verify()
    assert report.findings == []


def test_only_personal_values_can_be_erased() -> None:
    with pytest.raises(Invalid, match="Only reason, ip, agent"):
        erasure.erase(uuid.uuid4(), "actor", actor=ANA, reason="Please")


@pytest.fixture
def sealer() -> Iterator[Sealer]:
    with plain.connect("sealer") as own:
        made = Sealer(own, SealerFiles(settings.LEDGER_STATE_DIR))
        made.open()
        yield made


@with_commits
def test_a_sealed_event_has_a_number_and_its_hash(obj: ObjectRef, sealer: Sealer) -> None:
    event_id = audit.record("model.update", actor=ANA, obj=obj)
    while sealer.seal():
        pass
    seal = audit.seals_for([event_id])[event_id]
    assert seal.number == sealer.size
    assert seal.leaf_hash_short == bytes(Event.objects.get(id=event_id).leaf).hex()[:8]


def _let_the_minute_pass() -> None:
    """Move the windows back instead of the clock: events keep the true time."""
    RepeatedRefusal.objects.using("ledger").update(started_at=clock.now() - timedelta(seconds=61))


def test_the_migration_says_which_roles_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    migration = importlib.import_module("controlplane.audit.migrations.0001_ledger")
    monkeypatch.setattr(roles, "ALL_ROLES", (*roles.ALL_ROLES, "gh_absent"))
    monkeypatch.setattr(migration, "ALL_ROLES", roles.ALL_ROLES)
    with pytest.raises(CommandError, match=r"lacks the role gh_absent\. Let a database admin"):
        migration.require_roles(None, connection.schema_editor())
