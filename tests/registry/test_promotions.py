"""A promotion from the wish to the approval, and every way in which it is refused."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from controlplane.accounts import signatures
from controlplane.core.errors import (
    Blocked,
    Conflict,
    IllegalTransition,
    NotPermitted,
    StaleSubject,
)
from registry import blobs
from registry.services import promotions, reviews
from tests import make
from tests.rooms import SYSTEM, Room

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_version_with_good_evidence_reaches_review_and_is_approved(room: Room) -> None:
    promotion = room.requested()

    assert promotion.state == "in_review"
    assert {gate.outcome for gate in promotion.gates.all()} == {"pass"}
    approved = room.approve(promotion, room.approver)
    assert approved.state == "approved"
    assert make.audited(promotion, "promotion.approve", "success") == 1


def test_without_evidence_the_request_is_blocked_and_new_evidence_lifts_it(room: Room) -> None:
    made = promotions.request(room.version, room.production, actor=room.engineer)

    blocked = promotions.check(made.pk, actor=SYSTEM)
    assert blocked.state == "blocked"
    assert "No evaluation" in blocked.gates.get(name="evidence").sentence

    room.evaluate(room.version)
    promotions.recheck_open(room.version.pk, actor=SYSTEM)
    assert promotions.check(made.pk, actor=SYSTEM).state == "in_review"


def test_the_registrant_cannot_approve_even_with_the_right_slot(room: Room) -> None:
    make.give(make.user_of(room.engineer), "reviewer_ml", room.workspace)
    promotion = room.requested()

    with pytest.raises(NotPermitted, match="another person must decide") as refused:
        room.approve(promotion, room.engineer)

    assert refused.value.error_code == "separation_of_duties"
    assert make.audited(promotion, "promotion.approve", "refused") == 1
    promotion.refresh_from_db()
    assert promotion.state == "in_review"


def test_nobody_without_a_review_slot_approves(room: Room) -> None:
    promotion = room.requested()
    viewer = make.acting(make.person("viewer", workspace=room.workspace), room.workspace)

    with pytest.raises(NotPermitted, match="no review slot"):
        room.approve(promotion, viewer)


def test_an_approval_of_something_else_is_refused_and_leaves_no_trace_of_a_vote(
    room: Room,
) -> None:
    promotion = room.requested()
    seen = promotion.subject_digest
    room.evaluate(room.version, accuracy="0.93")

    with pytest.raises(StaleSubject, match="its evaluation changed"):
        room.approve(promotion, room.approver, digest=seen)

    assert promotion.reviews.count() == 0


def test_a_signature_counts_for_one_act_only(room: Room) -> None:
    promotion = room.requested()
    digest = promotion.subject_digest
    signature = signatures.sign(actor=room.approver, password=make.PASSWORD, subject_digest=digest)
    with transaction.atomic():
        signatures.spend(signature.pk, actor=room.approver, subject_digest=digest)

    with pytest.raises(Conflict):
        reviews.approve(
            promotion.pk, actor=room.approver, subject_digest=digest, signature_id=signature.pk
        )


def test_a_failed_gate_blocks_and_says_which_limit(room: Room) -> None:
    room.evaluate(room.version, accuracy="0.70")
    made = promotions.request(room.version, room.production, actor=room.engineer)

    blocked = promotions.check(made.pk, actor=SYSTEM)

    assert blocked.state == "blocked"
    assert "0.90" in blocked.gates.get(name="accuracy_floor").sentence


def test_a_changed_file_blocks(room: Room) -> None:
    room.evaluate(room.version)
    path = blobs.path(room.workspace.key, room.version.manifest[0]["sha256"])
    path.chmod(0o600)
    path.write_bytes(b"other weights")
    made = promotions.request(room.version, room.production, actor=room.engineer)

    blocked = promotions.check(made.pk, actor=SYSTEM)

    assert blocked.gates.get(name="manifest").outcome == "fail"
    assert "model.skops" in blocked.gates.get(name="manifest").sentence


def test_a_second_open_request_for_the_same_road_is_refused_by_name(room: Room) -> None:
    first = room.requested()
    other = room.register(b"weights 2")

    with pytest.raises(Conflict, match=str(first)):
        promotions.request(other, room.production, actor=room.engineer)


def test_setting_the_guarded_alias_twice_gives_the_same_request(room: Room) -> None:
    first, made = promotions.request_from_alias(room.version, room.production, actor=room.engineer)
    again, made_again = promotions.request_from_alias(
        room.version, room.production, actor=room.engineer
    )

    assert (made, made_again) == (True, False)
    assert first.pk == again.pk


def test_an_approved_request_does_not_start_once_its_subject_has_changed(room: Room) -> None:
    promotion = room.requested()
    room.approve(promotion, room.approver)
    room.evaluate(room.version, accuracy="0.91")

    with pytest.raises(Blocked, match="its evaluation changed"):
        promotions.execute(promotion.pk, actor=SYSTEM)


def test_a_decided_request_takes_no_further_votes(room: Room) -> None:
    promotion = room.requested()
    reviews.reject(
        promotion.pk,
        actor=room.approver,
        subject_digest=promotion.subject_digest,
        text="The holdout is from another year.",
    )
    other = make.acting(make.person("reviewer_ml", workspace=room.workspace), room.workspace)

    with pytest.raises(IllegalTransition, match="it is rejected"):
        room.approve(promotion, other)


def test_a_rejection_needs_words(room: Room) -> None:
    promotion = room.requested()

    with pytest.raises(Exception, match="at least 20 characters"):
        reviews.reject(
            promotion.pk,
            actor=room.approver,
            subject_digest=promotion.subject_digest,
            text="no",
        )
    assert promotion.reviews.count() == 0


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE registry_modelversion SET manifest = '[]'", "never changed"),
        ("UPDATE registry_modelversion SET contributors = '[]'", "never changed"),
        ("DELETE FROM registry_modelversion", "never deleted"),
        ("UPDATE registry_evidence SET body = '{}'", "never changed"),
        ("UPDATE registry_review SET verdict = 'reject'", "never changed"),
        ("DELETE FROM registry_review", "never deleted"),
        ("UPDATE registry_policy SET body = '{}'", "never changed"),
    ],
)
def test_the_database_keeps_what_was_sealed_found_or_said(
    room: Room, statement: str, message: str
) -> None:
    promotion = room.requested()
    reviews.comment(promotion.pk, actor=room.approver, text="Looks good so far.")

    with connection.cursor() as cursor, pytest.raises(DatabaseError, match=message):
        cursor.execute(statement)
