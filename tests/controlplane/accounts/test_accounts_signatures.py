"""The password given again: for one act, on one subject, within a minute."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache

from controlplane.accounts import signatures, throttle
from controlplane.accounts.models import Signature, User, Workspace
from controlplane.audit.models import Event
from controlplane.core.clock import now
from controlplane.core.errors import Conflict, NotPermitted, TooMany
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])
DIGEST, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def space() -> Workspace:
    cache.clear()
    return make.workspace()


@pytest.fixture
def ana(space: Workspace) -> User:
    return make.person("reviewer_ml", workspace=space)


def test_a_signature_is_spent_once(ana: User) -> None:
    actor = make.acting(ana)
    signature = signatures.sign(actor=actor, password=make.PASSWORD, subject_digest=DIGEST)
    spent = signatures.spend(signature.pk, actor=actor, subject_digest=DIGEST)
    assert spent.spent_at is not None
    with pytest.raises(Conflict, match="used already"):
        signatures.spend(signature.pk, actor=actor, subject_digest=DIGEST)


def test_a_wrong_password_signs_nothing_and_is_recorded(ana: User) -> None:
    refused = Event.objects.using("ledger").filter(action="signature.give", outcome="refused")
    before = refused.count()
    with pytest.raises(NotPermitted, match="not yours"):
        signatures.sign(actor=make.acting(ana), password="wrong", subject_digest=DIGEST)
    assert not Signature.objects.filter(user=ana).exists()
    assert refused.count() == before + 1


def test_a_signature_is_good_for_its_subject_only(ana: User) -> None:
    actor = make.acting(ana)
    signature = signatures.sign(actor=actor, password=make.PASSWORD, subject_digest=DIGEST)
    with pytest.raises(NotPermitted, match="not what would be decided"):
        signatures.spend(signature.pk, actor=actor, subject_digest=OTHER)


def test_a_signature_is_good_for_its_person_only(ana: User, space: Workspace) -> None:
    signature = signatures.sign(
        actor=make.acting(ana), password=make.PASSWORD, subject_digest=DIGEST
    )
    other = make.person("reviewer_ml", workspace=space)
    with pytest.raises(NotPermitted, match="not yours"):
        signatures.spend(signature.pk, actor=make.acting(other), subject_digest=DIGEST)


def test_a_signature_is_void_after_a_minute(ana: User) -> None:
    actor = make.acting(ana)
    signature = signatures.sign(actor=actor, password=make.PASSWORD, subject_digest=DIGEST)
    Signature.objects.filter(pk=signature.pk).update(given_at=now() - timedelta(seconds=61))
    with pytest.raises(Conflict, match="older than 60 seconds"):
        signatures.spend(signature.pk, actor=actor, subject_digest=DIGEST)


def test_a_service_account_cannot_sign(space: Workspace) -> None:
    robot = make.service_account("ci", workspace=space)
    with pytest.raises(NotPermitted, match="Only a person"):
        signatures.sign(actor=make.acting(robot), password="", subject_digest=DIGEST)


def test_guessing_is_slowed_down(ana: User) -> None:
    actor = make.acting(ana)
    for _ in range(throttle.WRONG_ALLOWED):
        with pytest.raises(NotPermitted):
            signatures.sign(actor=actor, password="wrong", subject_digest=DIGEST)
    with pytest.raises(TooMany, match="wait 5 minutes"):
        signatures.sign(actor=actor, password=make.PASSWORD, subject_digest=DIGEST)
