"""A workspace with the people and records that a promotion needs, made through the services."""

from __future__ import annotations

from typing import Any

from controlplane.accounts import signatures
from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from registry import blobs
from registry.models import PromotionRequest
from registry.services import environments, evidence, models, promotions, reviews
from tests import make

SYSTEM = Actor.system("test")
POLICY = """
gates:
  - {name: evidence, kind: evidence, title: Evaluated}
  - {name: manifest, kind: manifest, title: Files unchanged}
  - {name: accuracy_floor, kind: metric_threshold, metric: accuracy, at_least: "0.90", title: Floor}
  - {name: accuracy_not_worse, kind: metric_vs_live, metric: accuracy, margin: "0.02", title: Live}
reviews:
  - {slot: ml, quorum: 1}
"""


class Room:
    """A workspace with the people of a promotion and one registered version."""

    def __init__(self, *, policy_tail: str = "") -> None:
        self.workspace: Workspace = make.workspace()
        environments.ship_defaults(
            self.workspace, actor=SYSTEM, sources={"medium": POLICY + policy_tail}
        )
        self.engineer = self._as("ml_engineer")
        self.approver = self._as("reviewer_ml")
        self.production = environments.by_key(self.workspace.pk, "production")
        self.model = models.create_model(
            actor=self.engineer, workspace=self.workspace, name="reader"
        )
        self.version = self.register(b"weights 1")

    def _as(self, role: str) -> Actor:
        return make.acting(make.person(role, workspace=self.workspace), self.workspace)

    def register(self, content: bytes) -> Any:
        stored = blobs.put_bytes(self.workspace.key, content)
        return models.register_version(
            self.model,
            actor=self.engineer,
            source="runs:/x/model",
            files=[models.VersionFile("model.skops", stored.size, stored.sha256)],
            signature={"inputs": '[{"name":"x","type":"double"}]', "outputs": "[]"},
        )

    def evaluate(self, version: Any, accuracy: str = "0.95", difference: Any = None) -> None:
        estimate = {"value": accuracy, "low": accuracy, "high": accuracy, "n": 400}
        live = evidence.live_version(self.model.pk, self.production)
        metric = {
            "name": "accuracy",
            "title": "Accuracy",
            "direction": "higher",
            "candidate": estimate,
            "live": estimate if live else None,
            "difference": difference,
        }
        evidence.attach(
            version.pk,
            actor=SYSTEM,
            body={"rows": 400, "metrics": [metric], "slices": []},
            dataset_version=None,
            baseline=live,
            job_id=None,
        )

    def requested(self) -> PromotionRequest:
        """Return a promotion of the evaluated version that stands in review."""
        self.evaluate(self.version)
        made = promotions.request(self.version, self.production, actor=self.engineer)
        return promotions.check(made.pk, actor=SYSTEM)

    def approve(self, promotion: PromotionRequest, actor: Actor, digest: str = "") -> Any:
        digest = digest or promotion.subject_digest
        signature = signatures.sign(actor=actor, password=make.PASSWORD, subject_digest=digest)
        return reviews.approve(
            promotion.pk, actor=actor, subject_digest=digest, signature_id=signature.pk
        )
