"""How a rollout moves: by what nodes report and by what requests show, never by wish."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection

from controlplane.core import clock
from controlplane.core.errors import Blocked, Conflict, IllegalTransition, NotPermitted
from deployments import snapshot
from deployments.models import (
    Deployment,
    Rollout,
)
from deployments.services import rollouts, routing
from registry.models import PromotionRequest
from registry.services import models
from tests import make
from tests.rooms import SYSTEM
from tests.streets import Street

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])


@pytest.fixture
def street() -> Street:
    return Street()


def routed(name: str) -> snapshot.Deployment:
    newest = routing.newest_snapshot()
    assert newest
    read = snapshot.loads(newest.body, expected_sha256=newest.sha256)
    return next(item for item in read.deployments if item.name == name)


def test_the_first_version_goes_live_and_the_alias_follows(street: Street) -> None:
    rollout = street.live(street.version)

    assert rollout.strategy == "blue_green"
    assert models.resolve_alias(street.model, "production") == street.version
    promotion = PromotionRequest.objects.get(pk=rollout.promotion_id)
    assert promotion.state == "completed"
    assert [arm.version for arm in routed("reader-production").arms] == [1]


def test_nobody_reaches_a_version_before_a_node_has_it_ready(street: Street) -> None:
    rollout = street.rollout_of(street.version)

    rollouts.consider(rollout.pk, actor=SYSTEM)

    rollout.refresh_from_db()
    assert rollout.state == "preparing"
    assert not Deployment.objects.get().revisions.exists()
    newest = routing.newest_snapshot()
    assert newest and street.version.manifest_sha256[:12] in newest.body


def test_a_version_that_does_not_load_goes_back_with_the_nodes_words(street: Street) -> None:
    rollout = street.rollout_of(street.version)
    street.node_says(street.version, "failed", "No module named 'nowhere'.")

    rollouts.consider(rollout.pk, actor=SYSTEM)
    rollout = rollouts.consider(rollout.pk, actor=SYSTEM)

    assert rollout.state == "rolled_back"
    assert "nowhere" in rollout.message
    assert PromotionRequest.objects.get(pk=rollout.promotion_id).state == "rolled_back"


def test_a_canary_climbs_its_steps_and_never_above_them(street: Street) -> None:
    street.live(street.version)
    second = street.register(b"weights 2")

    rollout = street.live(second)

    shares = [
        revision.candidate_basis_points
        for revision in rollout.deployment.revisions.filter(promotion=rollout.promotion).order_by(
            "number"
        )
    ]
    assert shares == [1000, 5000, 10000, 0]
    assert models.resolve_alias(street.model, "production") == second


def test_a_canary_that_fails_more_often_is_rolled_back_by_itself(street: Street) -> None:
    street.live(street.version)
    second = street.register(b"weights 2")
    rollout = street.rollout_of(second)
    street.node_says(second, "ready")
    rollouts.consider(rollout.pk, actor=SYSTEM)

    street.requests(rollout, "stable", good=900)
    street.requests(rollout, "candidate", good=10, bad=90)
    rollout = rollouts.consider(rollout.pk, actor=SYSTEM)

    assert rollout.state == "rolling_back"
    assert "90.0 %" in rollout.message
    served = routed("reader-production")
    assert [(arm.version, arm.share_basis_points) for arm in served.arms] == [(1, 10_000)]
    street.gateway_follows()
    assert rollouts.consider(rollout.pk, actor=SYSTEM).state == "rolled_back"
    assert make.audited(rollout, "rollout.roll_back") == 1


def test_a_rollback_that_no_gateway_confirms_is_reported_and_tried_again(
    street: Street,
) -> None:
    street.live(street.version)
    second = street.register(b"weights 2")
    rollout = street.rollout_of(second)
    street.node_says(second, "ready")
    rollouts.consider(rollout.pk, actor=SYSTEM)
    rollouts.roll_back(rollout.pk, actor=street.operator, reason="Looks wrong.")
    Rollout.objects.update(step_started_at=clock.now() - timedelta(seconds=10))

    assert rollouts.consider(rollout.pk, actor=SYSTEM).state == "rollback_failed"
    assert rollouts.consider(rollout.pk, actor=SYSTEM).state == "rolling_back"
    street.gateway_follows()
    assert rollouts.consider(rollout.pk, actor=SYSTEM).state == "rolled_back"


def test_a_live_deployment_goes_back_in_one_step_without_approval(street: Street) -> None:
    street.live(street.version)
    second = street.register(b"weights 2")
    street.live(second)
    deployment = Deployment.objects.get()

    rollouts.roll_back_deployment(
        deployment.pk, actor=street.operator, reason="Complaints from the field."
    )

    assert models.resolve_alias(street.model, "production") == street.version
    assert routed(deployment.name).arms[0].version == 1


def test_going_back_needs_the_right_to_operate_and_somewhere_to_go(street: Street) -> None:
    street.live(street.version)
    deployment = Deployment.objects.get()

    with pytest.raises(NotPermitted):
        rollouts.roll_back_deployment(deployment.pk, actor=street.engineer, reason="Because.")
    with pytest.raises(Blocked, match="no earlier version"):
        rollouts.roll_back_deployment(deployment.pk, actor=street.operator, reason="Because.")


def test_two_operators_advance_one_step_once(street: Street) -> None:
    street.live(street.version)
    second = street.register(b"weights 2")
    rollout = street.rollout_of(second)
    street.node_says(second, "ready")
    rollouts.consider(rollout.pk, actor=SYSTEM)

    rollouts.advance(rollout.pk, actor=street.operator, expected_step=0)
    with pytest.raises(Conflict, match="it moved meanwhile"):
        rollouts.advance(rollout.pk, actor=street.operator, expected_step=0)


def test_a_paused_rollout_neither_advances_nor_moves_traffic(street: Street) -> None:
    street.live(street.version)
    second = street.register(b"weights 2")
    rollout = street.rollout_of(second)
    street.node_says(second, "ready")
    rollouts.consider(rollout.pk, actor=SYSTEM)
    rollouts.pause(rollout.pk, actor=street.operator, reason="Lunch.")

    with pytest.raises(IllegalTransition, match="it is paused"):
        rollouts.advance(rollout.pk, actor=street.operator)

    assert routed("reader-production").arms[1].share_basis_points == 1000


def test_a_revision_is_never_changed_or_deleted(street: Street) -> None:
    street.live(street.version)

    for statement in (
        "UPDATE deployments_deploymentrevision SET reason = 'other'",
        "UPDATE deployments_deploymentrevision SET valid_to = now() WHERE valid_to IS NOT NULL",
        "DELETE FROM deployments_deploymentrevision",
    ):
        with connection.cursor() as cursor, pytest.raises(DatabaseError, match="never"):
            cursor.execute(statement)
