"""What exactly is decided on, and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from controlplane.core import canonical_json
from registry.models import PromotionRequest
from registry.services import evidence as evidence_service


def build(promotion: PromotionRequest) -> dict[str, Any]:
    """Return the subject of the promotion as it is now, ready for canonical JSON."""
    version = promotion.version
    newest = evidence_service.newest(version)
    live = evidence_service.live_version(promotion.model_id, promotion.environment)
    return {
        "model": promotion.model.name,
        "version": version.number,
        "manifest": version.manifest_sha256,
        "signature": hashlib.sha256(
            json.dumps(version.signature, sort_keys=True).encode()
        ).hexdigest(),
        "datasets": sorted(version.datasets.values_list("digest", flat=True)),
        "evaluations": [{"id": newest.pk, "digest": newest.digest}] if newest else [],
        "environment": promotion.environment.key,
        "replaces": live.manifest_sha256 if live else None,
        "plan": canonical_json.digest(promotion.plan),
        "policy": promotion.policy.digest,
    }


def digest(subject: dict[str, Any]) -> str:
    return canonical_json.digest(subject)


_READABLE = {
    "manifest": "the version's files",
    "signature": "its signature",
    "datasets": "its training data",
    "evaluations": "its evaluation",
    "environment": "the environment",
    "replaces": "the version that is live",
    "plan": "the rollout plan",
    "policy": "the policy",
}


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return in words what differs between two subjects."""
    return [words for key, words in _READABLE.items() if old.get(key) != new.get(key)]
