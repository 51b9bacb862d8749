"""What speaks for or against a version: plain facts in, sentences out. No database, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from registry.policies import Gate, PolicyBody

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
MINIMUM_TEXT = 20
LOWER_IS_BETTER = frozenset({"mae", "rmse"})


@dataclass(frozen=True, slots=True)
class GateFacts:
    """Everything a gate may look at.

    ``body`` is the scorecard of the newest evidence, or None; ``live`` the label of the version
    in service, or an empty string; ``baseline`` the label of the version that the evidence was
    paired with.
    """

    now: datetime
    evidence_at: datetime | None = None
    evidence_manifest: str = ""
    body: Mapping[str, Any] | None = None
    baseline: str = ""
    dataset: str = ""
    manifest_sha256: str = ""
    damaged_paths: tuple[str, ...] = ()
    file_count: int = 0
    live: str = ""
    environment: str = ""
    has_inputs: bool = False
    has_outputs: bool = False
    lineage_holes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GateOutcome:
    outcome: str
    sentence: str
    facts: dict[str, Any] = field(default_factory=dict)


def judge(gate: Gate, facts: GateFacts) -> GateOutcome:
    """Return what the gate says; missing data is never a pass."""
    return _JUDGES[gate.kind](gate, facts)


def _evidence(gate: Gate, facts: GateFacts) -> GateOutcome:
    if facts.evidence_at is None or facts.body is None:
        return GateOutcome(
            FAIL, "No evaluation of this version is recorded. Start one, then check again."
        )
    if facts.evidence_manifest != facts.manifest_sha256:
        return GateOutcome(FAIL, "The evaluation belongs to other files than this version's.")
    age = facts.now - facts.evidence_at
    if gate.max_age_hours and age > timedelta(hours=gate.max_age_hours):
        return GateOutcome(
            FAIL,
            f"The evaluation is {age.days * 24 + age.seconds // 3600} hours old; "
            f"the policy takes none older than {gate.max_age_hours}.",
        )
    rows = int(facts.body["rows"])
    return GateOutcome(
        PASS,
        f"Evaluated on {facts.dataset}, {rows:,} rows that training did not see.",
        {"rows": rows, "dataset": facts.dataset},
    )


def _manifest(gate: Gate, facts: GateFacts) -> GateOutcome:
    if facts.damaged_paths:
        return GateOutcome(
            FAIL, f"{facts.damaged_paths[0]} is missing or no longer has its registered digest."
        )
    if not facts.file_count:
        return GateOutcome(FAIL, "The version has no files.")
    return GateOutcome(
        PASS,
        f"All {facts.file_count} files were hashed again and equal the manifest "
        f"{facts.manifest_sha256[:8]}.",
        {"files": facts.file_count, "manifest": facts.manifest_sha256},
    )


def _signature(gate: Gate, facts: GateFacts) -> GateOutcome:
    if facts.has_inputs and facts.has_outputs:
        return GateOutcome(PASS, "The model declares its inputs and outputs.")
    missing = "inputs" if not facts.has_inputs else "outputs"
    return GateOutcome(
        FAIL,
        f"The model does not declare its {missing}. Log it with signature=infer_signature(…) "
        "and register it again.",
    )


def _lineage(gate: Gate, facts: GateFacts) -> GateOutcome:
    if facts.lineage_holes:
        return GateOutcome(FAIL, f"Not known: {', '.join(facts.lineage_holes)}.")
    return GateOutcome(PASS, "Training data, environment and run are recorded.")


def _metric_threshold(gate: Gate, facts: GateFacts) -> GateOutcome:
    metric = _metric(facts, gate.metric)
    if metric is None:
        return GateOutcome(INCONCLUSIVE, f"The evaluation has no {gate.metric}.")
    candidate = metric["candidate"]
    limit = Decimal(gate.at_least)
    low, high = Decimal(candidate["low"]), Decimal(candidate["high"])
    numbers = {**_numbers(candidate), "limit": gate.at_least}
    lower_is_better = gate.metric in LOWER_IS_BETTER
    bound = high if lower_is_better else low
    if (bound <= limit) if lower_is_better else (bound >= limit):
        side = "at most" if lower_is_better else "at least"
        return GateOutcome(
            PASS,
            f"{metric['title']} {candidate['value']}, {side} {_short(bound)} at the bound; "
            f"the limit is {gate.at_least}.",
            numbers,
        )
    best = low if lower_is_better else high
    if (best > limit) if lower_is_better else (best < limit):
        return GateOutcome(
            FAIL,
            f"{metric['title']} {candidate['value']} misses the limit of {gate.at_least}.",
            numbers,
        )
    return GateOutcome(
        INCONCLUSIVE,
        f"{metric['title']} {candidate['value']} with the interval {candidate['low']} to "
        f"{candidate['high']} does not clear the limit of {gate.at_least}. More rows would tell.",
        numbers,
    )


def _metric_vs_live(gate: Gate, facts: GateFacts) -> GateOutcome:
    if not facts.live:
        return GateOutcome(
            PASS,
            f"Nothing is live in {facts.environment} yet, so there is nothing to be worse than.",
        )
    stale = _wrong_baseline(facts)
    if stale:
        return GateOutcome(FAIL, stale)
    metric = _metric(facts, gate.metric)
    if metric is None or not metric.get("difference"):
        return GateOutcome(
            INCONCLUSIVE, f"The evaluation does not compare {gate.metric} with {facts.live}."
        )
    return _compare(metric["title"], metric["difference"], gate, facts.live)


def _slice_vs_live(gate: Gate, facts: GateFacts) -> GateOutcome:
    if not facts.live:
        return GateOutcome(
            PASS, f"Nothing is live in {facts.environment} yet, so no slice can be worse."
        )
    stale = _wrong_baseline(facts)
    if stale:
        return GateOutcome(FAIL, stale)
    judged = [
        (item, _compare(f"Slice “{item['name']}”", item["difference"], gate, facts.live))
        for item in (facts.body or {}).get("slices", [])
        if item.get("difference") and not item.get("too_few")
    ]
    if not judged:
        return GateOutcome(INCONCLUSIVE, "No slice has enough rows to be compared.")
    order = {FAIL: 0, INCONCLUSIVE: 1, PASS: 2}
    worst = min(
        judged, key=lambda pair: (order[pair[1].outcome], Decimal(pair[0]["difference"]["low"]))
    )
    if worst[1].outcome == PASS:
        return GateOutcome(
            PASS,
            f"All {len(judged)} slices stay within {gate.margin} of {facts.live}.",
            worst[1].facts,
        )
    return worst[1]


def _compare(title: str, difference: Mapping[str, Any], gate: Gate, live: str) -> GateOutcome:
    """Judge an interval of candidate − live; of errors, less is better and the sign is turned."""
    value, low, high = (Decimal(difference[key]) for key in ("value", "low", "high"))
    if gate.metric in LOWER_IS_BETTER:
        value, low, high = -value, -high, -low
    margin = Decimal(gate.margin)
    numbers = {**_numbers(difference), "limit": f"-{gate.margin}"}
    shown = f"{_signed(value)} [{_signed(low)}, {_signed(high)}] against {live}"
    if low >= -margin:
        return GateOutcome(
            PASS, f"{title} {shown}; a drop of {gate.margin} would be too much.", numbers
        )
    if high < -margin:
        return GateOutcome(FAIL, f"{title} {shown}: worse by more than {gate.margin}.", numbers)
    return GateOutcome(
        INCONCLUSIVE,
        f"{title} {shown}: the interval reaches past a drop of {gate.margin}.",
        numbers,
    )


def _wrong_baseline(facts: GateFacts) -> str:
    if facts.body is None:
        return "No evaluation of this version is recorded. Start one, then check again."
    if facts.baseline != facts.live:
        compared = facts.baseline or "no other version"
        return (
            f"The evaluation compares with {compared}, but {facts.live} is live now. "
            "Evaluate again."
        )
    return ""


def _metric(facts: GateFacts, name: str) -> Mapping[str, Any] | None:
    for metric in (facts.body or {}).get("metrics", []):
        if metric["name"] == name:
            found: Mapping[str, Any] = metric
            return found
    return None


def _numbers(estimate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: estimate[key] for key in ("value", "low", "high", "n") if key in estimate}


def _short(value: Decimal) -> str:
    return f"{value:.4f}"


def _signed(value: Decimal) -> str:
    return f"{value:+.4f}".replace("-", "−")


_JUDGES = {
    "evidence": _evidence,
    "manifest": _manifest,
    "signature": _signature,
    "lineage": _lineage,
    "metric_threshold": _metric_threshold,
    "metric_vs_live": _metric_vs_live,
    "slice_vs_live": _slice_vs_live,
}


@dataclass(frozen=True, slots=True)
class Vote:
    """A review as the rule sees it; ``slots`` are those the reviewer may fill."""

    reviewer_id: str
    verdict: str
    subject_digest: str
    slot: str


def vote_status(vote: Vote, *, subject_digest: str, contributors: frozenset[str]) -> str:
    """Return counted, stale or conflicted."""
    if vote.reviewer_id in contributors:
        return "conflicted"
    if vote.subject_digest != subject_digest:
        return "stale"
    return "counted"


def open_slots(
    policy: PolicyBody, votes: list[Vote], *, subject_digest: str, contributors: frozenset[str]
) -> dict[str, int]:
    """Return for each slot how many approvals are still missing; empty when the quorum is met."""
    missing = {}
    for wanted in policy.reviews:
        given = {
            vote.reviewer_id
            for vote in votes
            if vote.slot == wanted.slot
            and vote.verdict == "approve"
            and vote_status(vote, subject_digest=subject_digest, contributors=contributors)
            == "counted"
        }
        if len(given) < wanted.quorum:
            missing[wanted.slot] = wanted.quorum - len(given)
    return missing


def reasons_against_vote(
    *,
    reviewer_id: str,
    contributors: Mapping[str, str],
    held_slots: frozenset[str],
    wanted_slots: frozenset[str],
    already_approved: bool,
) -> list[str]:
    """Return why this person's approval would not count; empty when it would.

    ``contributors`` maps actor ids to what they did ("registered the version").
    """
    if reviewer_id in contributors:
        return [f"You {contributors[reviewer_id]}, so another person must decide."]
    if not held_slots:
        return ["You hold no review slot for this model or environment."]
    if not held_slots & wanted_slots:
        names = ", ".join(sorted(wanted_slots)) or "none"
        return [f"Your slot ({', '.join(sorted(held_slots))}) is not open; open: {names}."]
    if already_approved:
        return ["You have approved this subject already."]
    return []


def reasons_against_text(text: str) -> list[str]:
    if len(text.strip()) < MINIMUM_TEXT:
        return [
            f"Give a reason of at least {MINIMUM_TEXT} characters, "
            "so that the requester can act on it."
        ]
    return []
