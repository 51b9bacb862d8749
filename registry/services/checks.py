"""Gather the facts, let the rules judge them, and keep what they said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from registry import blobs, policies, rules, subject
from registry.models import GateResult, ModelVersion, PromotionRequest
from registry.services import environments, evidence

_AT_MOST = 5


def damaged_files(version: ModelVersion) -> tuple[str, ...]:
    """Hash every file of the version again; return the paths that are missing or changed."""
    key = version.model.workspace.key
    return tuple(
        item["path"] for item in version.manifest if not blobs.is_intact(key, item["sha256"])
    )


def record(
    promotion: PromotionRequest,
    policy: policies.PolicyBody,
    *,
    damaged: tuple[str, ...],
    at: datetime,
) -> list[GateResult]:
    """Each gate of the policy has its outcome as of ``at``; return them in the policy's order."""
    newest = evidence.newest(promotion.version)
    live = evidence.live_version(promotion.model_id, promotion.environment)
    version = promotion.version
    facts = rules.GateFacts(
        now=at,
        evidence_at=newest.created_at if newest else None,
        evidence_manifest=newest.manifest_sha256 if newest else "",
        body=newest.body if newest else None,
        baseline=str(newest.baseline) if newest and newest.baseline else "",
        dataset=str(newest.dataset_version) if newest and newest.dataset_version else "",
        manifest_sha256=version.manifest_sha256,
        damaged_paths=damaged,
        file_count=len(version.manifest),
        live=str(live) if live else "",
        environment=promotion.environment.name,
        has_inputs=bool(version.signature.get("inputs")),
        has_outputs=bool(version.signature.get("outputs")),
        lineage_holes=tuple(lineage_holes(version)),
    )
    results = []
    for order, gate in enumerate(policy.gates):
        outcome = rules.judge(gate, facts)
        result, _ = GateResult.objects.update_or_create(
            promotion=promotion,
            name=gate.name,
            defaults={
                "kind": gate.kind,
                "title": gate.title,
                "order": order,
                "outcome": outcome.outcome,
                "sentence": outcome.sentence,
                "facts": outcome.facts,
                "evidence": newest,
                "computed_at": at,
            },
        )
        results.append(result)
    return results


def lineage_holes(version: ModelVersion) -> list[str]:
    """Return what is not known of the version's origin, in words."""
    holes = []
    if not version.run_id:
        holes.append("the run that trained it")
    if not version.datasets.exists():
        holes.append("the data it was trained on")
    if not version.lock_sha256:
        holes.append("the environment it was trained in")
    return holes


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing out of the ordinary that an approver should look at."""

    key: str
    text: str


def deviations(promotion: PromotionRequest) -> list[Deviation]:
    """Return at most five deviations, the gravest first; never a recommendation."""
    found: list[tuple[int, Deviation]] = []
    for gate in promotion.gates.all():
        if gate.outcome in {"fail", "inconclusive"}:
            found.append((0, Deviation(f"gate:{gate.name}", gate.sentence)))
    newest = evidence.newest(promotion.version)
    for item in (newest.body if newest else {}).get("slices", []):
        difference = item.get("difference")
        if not difference or item.get("too_few"):
            continue
        # Of a classifier a slice's share of right answers is compared, of a regression its error.
        is_error = newest is not None and newest.body.get("task") == "regression"
        if Decimal(difference["low"]) > 0 if is_error else Decimal(difference["high"]) < 0:
            value = Decimal(difference["value"])
            shown = f"error {value:+.4g}" if is_error else f"{value * 100:+.1f} points"
            text = f"Slice “{item['name']}” {shown} against the live version."
            found.append((1, Deviation(f"slice:{item['name']}", text.replace(" -", " −"))))
    live = evidence.live_version(promotion.model_id, promotion.environment)
    if live is None:
        found.append(
            (
                2,
                Deviation(
                    "first",
                    f"First version of {promotion.model} in {promotion.environment.name}; "
                    "a way back does not exist yet.",
                ),
            )
        )
    else:
        known = set(live.datasets.values_list("pk", flat=True))
        for dataset in promotion.version.datasets.select_related("dataset").exclude(pk__in=known):
            found.append((2, Deviation(f"data:{dataset}", f"Training data {dataset} is new.")))
    holes = lineage_holes(promotion.version)
    # Where a check asks for it, its own sentence stands in the list already.
    if holes and not any(gate.kind == "lineage" for gate in promotion.gates.all()):
        found.append((1, Deviation("lineage", f"Not known: {', '.join(holes)}.")))
    if promotion.version.file_verdict == "not scanned":
        found.append((4, Deviation("scan", "The model files have not been scanned.")))
    ranked = sorted(found, key=lambda pair: pair[0])
    return [item for _, item in ranked[:_AT_MOST]]


def reasons_against_start(promotion: PromotionRequest, *, now: datetime) -> list[str]:
    """Return why an approved promotion may not begin (any more)."""
    reasons = []
    if promotion.approved_until and promotion.approved_until <= now:
        reasons.append("The approval has run out; open a new request.")
    if promotion.version.state != ModelVersion.State.SEALED:
        reasons.append(f"The version is {promotion.version.state}.")
    if promotion.environment.state != "active":
        reasons.append(f"{promotion.environment.name} is {promotion.environment.state}.")
    changed = subject.changes(promotion.subject, subject.build(promotion))
    if changed:
        reasons.append(f"Since the approval {' and '.join(changed)} changed.")
    standing = promotion.gates.exclude(outcome="pass").first()
    if standing:
        reasons.append(f"The check “{standing.title}” does not pass.")
    active = environments.active_policy(promotion.environment, promotion.model.risk_tier)
    if active and active.pk != promotion.policy_id:
        reasons.extend(stricter(promotion.policy.body, active.body))
    return reasons


def stricter(old: dict[str, object], new: dict[str, object]) -> Sequence[str]:
    """Return what a policy asks that the earlier one did not."""
    return [
        f"The policy became stricter: {sentence}"
        for sentence in environments.lowered(policies.from_json(new), policies.from_json(old))
    ]
