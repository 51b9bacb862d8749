"""A room whose promotions lead to rollouts; node and gateway are played by the rows they write."""

from __future__ import annotations

from uuid import uuid4

from controlplane.core import clock
from deployments.models import ArmStatus, GatewayAck, NodeHeartbeat, Prediction, Rollout
from deployments.services import rollouts, routing
from registry.models import ModelVersion
from registry.services import models, promotions
from tests.rooms import SYSTEM, Room

CANARY = """
rollout:
  steps_basis_points: [1000, 5000, 10000]
  step_seconds: 0
  bake_seconds: 0
  guard: {error_margin: "0.05", minimum_requests: 100}
"""


class Street(Room):
    """A room whose promotions lead to rollouts; the node and its gateway are played by rows."""

    def __init__(self) -> None:
        super().__init__(policy_tail=CANARY)
        self.operator = self._as("operator")

    def rollout_of(self, version: ModelVersion) -> Rollout:
        """Return the rollout of the version, approved and under preparation."""
        live = models.resolve_alias(self.model, "production")
        difference = {"value": "0.00", "low": "-0.01", "high": "0.01", "n": 400} if live else None
        self.evaluate(version, difference=difference)
        made = promotions.request(version, self.production, actor=self.engineer)
        checked = promotions.check(made.pk, actor=SYSTEM)
        self.approve(checked, self.approver)
        promotions.execute(made.pk, actor=SYSTEM)
        return Rollout.objects.get(promotion=made)

    def node_says(self, version: ModelVersion, state: str, detail: str = "") -> None:
        ArmStatus.objects.create(
            node="n1", worker_key=routing.worker_key(version), state=state, detail=detail
        )

    def gateway_follows(self) -> None:
        newest = routing.newest_snapshot()
        assert newest
        NodeHeartbeat.objects.create(node="n1", process="gateway-1")
        GatewayAck.objects.create(gateway="gateway-1", epoch=newest.epoch, revision=newest.revision)

    def requests(self, rollout: Rollout, arm: str, *, good: int = 0, bad: int = 0) -> None:
        now = clock.now()
        Prediction.objects.bulk_create(
            Prediction(
                id=uuid4(),
                at=now,
                workspace_id=self.workspace.pk,
                deployment=rollout.deployment.name,
                deployment_id=rollout.deployment_id,
                arm=arm,
                assignment="sticky" if index < good else "failover",
                status=200,
                total_us=900,
            )
            for index in range(good + bad)
        )

    def live(self, version: ModelVersion) -> Rollout:
        """Return the finished rollout that made the version live."""
        rollout = self.rollout_of(version)
        self.node_says(version, "ready")
        for _ in range(8):
            rollout = rollouts.consider(rollout.pk, actor=SYSTEM)
            if rollout.state == "succeeded":
                return rollout
            self.requests(rollout, "stable", good=400)
            self.requests(rollout, "candidate", good=400)
        raise AssertionError(rollout.state)
