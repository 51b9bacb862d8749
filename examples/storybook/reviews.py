"""Evidence, request, refusal, signature: how a version comes to be allowed into production."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gatehouse_cli import jobs, promotions
from gatehouse_cli.errors import Problem

from storybook.cast import Cast, Person
from storybook.narrator import StoryError, wait_for
from storybook.training import HOLDOUT, MODEL, version_of

ENVIRONMENT = "production"
Promotion = Mapping[str, Any]
_EVALUATION_SECONDS = 90
_ROLLOUT_SECONDS = 60
_ABANDONED = {"rejected", "withdrawn", "expired"}


class Review:
    """What engineer, ``ci`` and approver do with promotions."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast

    def has_been_asked_for(self, kind: str) -> bool:
        number = version_of(self.cast, kind)
        return number is not None and self.promotion_of(number) is not None

    def promotion_of(self, version: int) -> Promotion | None:
        """Return the newest promotion of the version that was not given up."""
        for row in self.cast.ci.call.pages("promotions", params={"state": "all", "model": MODEL}):
            if row["version"] == version and row["state"] not in _ABANDONED:
                found: Promotion = self.cast.ci.call.get(f"promotions/{row['number']}")
                return found
        return None

    def evaluate(self, version: int) -> None:
        """The version has evidence from the holdout, beside what is live."""
        engineer = self.cast.engineer
        if next(engineer.call.pages(f"models/{MODEL}/versions/{version}/evidence", limit=1), None):
            return
        job = jobs.evaluate(
            engineer.call,
            MODEL,
            version,
            dataset=f"{HOLDOUT}@1",
            label="label",
            slice_column="ink",
            environment=ENVIRONMENT,
        )
        job = jobs.wait(engineer.call, job, timeout_seconds=_EVALUATION_SECONDS, poll_seconds=0.4)
        if job["state"] != "succeeded":
            raise StoryError(f"The evaluation ended as {job['state']}: {job['error']}")
        evidence = wait_for(
            "the evidence of the evaluation",
            lambda: jobs.evidence_of(engineer.call, MODEL, version, job),
            seconds=10,
        )
        engineer.says(f"{MODEL}@{version} on {HOLDOUT}@1: {_accuracy(evidence)}")

    def ask(self, version: int, *, reason: str, strategy: str = "") -> Promotion:
        """Return the promotion that ``ci`` asked for, once its checks are done."""
        ci = self.cast.ci
        promotion = self.promotion_of(version)
        if promotion is None:
            promotion, _ = promotions.ask(
                ci.call, MODEL, version, ENVIRONMENT, reason=reason, strategy=strategy
            )
            ci.says(f"asks for {MODEL}@{version} in {ENVIRONMENT}: {promotion['reference']}")
        promotion = stay(ci, promotion, while_in={"checking"}, seconds=30)
        if promotion["state"] == "blocked":
            failed = " ".join(promotions.failed_gates(promotion))
            raise StoryError(f"{promotion['reference']} does not pass every check. {failed}")
        if promotion["state"] == "in_review":
            ci.says(f"all {len(promotion['gates'])} checks pass; a person has to decide")
        return promotion

    def try_to_approve_own_work(self, promotion: Promotion) -> None:
        """The engineer trained it, so the engineer's approval is refused, and recorded."""
        engineer = self.cast.engineer
        try:
            _approve(engineer, promotion, "Looks good to me.")
        except Problem as problem:
            if problem.status != 403:
                raise
            engineer.says(f"tries to approve it, and is refused: “{problem.message}”")
            return
        raise StoryError("The engineer could approve a version of their own.")

    def approve(self, promotion: Promotion, *, comment: str) -> Promotion:
        """Return the promotion after the approver signed exactly what was read."""
        signed = _approve(self.cast.approver, promotion, comment)
        digest = promotion["subject_digest"][:12]
        self.cast.approver.says(f"signs {promotion['reference']} with the password, for {digest}")
        return signed

    def until_live(self, promotion: Promotion) -> None:
        """Return once the rollout has ended well."""
        ended = stay(
            self.cast.ci, promotion, while_in={"approved", "executing"}, seconds=_ROLLOUT_SECONDS
        )
        if ended["state"] != "completed":
            raise StoryError(
                f"{ended['reference']} is {ended['state']} and not completed. "
                f"{ended['closed_because']} {ended['url']}"
            )
        self.cast.ci.says(f"{MODEL}@{ended['version']} is live in {ENVIRONMENT}")


def stay(person: Person, promotion: Promotion, *, while_in: set[str], seconds: float) -> Promotion:
    """Return the promotion once it has left these states, or as it is when the time is over.

    The server holds each answer back until there is news, so this asks rarely and hears at once.
    """
    deadline = time.monotonic() + seconds
    while promotion["state"] in while_in and (left := deadline - time.monotonic()) > 0:
        promotion = person.call.poll(
            f"promotions/{promotion['number']}", seen=promotion["state"], wait_seconds=min(20, left)
        )
    return promotion


def _approve(person: Person, promotion: Promotion, comment: str) -> Promotion:
    signed: Promotion = person.call.post(
        f"promotions/{promotion['number']}/approve",
        {
            "subject_digest": promotion["subject_digest"],
            "password": person.password,
            "comment": comment,
            "acknowledged": [point["key"] for point in promotion["deviations"]],
        },
    )
    return signed


def _accuracy(evidence: Mapping[str, Any]) -> str:
    metrics = {metric["name"]: metric for metric in evidence["body"]["metrics"]}
    accuracy = metrics["accuracy"]
    value, low, high = (float(accuracy["candidate"][name]) for name in ("value", "low", "high"))
    text = f"accuracy {value:.3f} ({low:.3f} to {high:.3f})"
    if accuracy["live"] and evidence["baseline"]:
        text += f", version {evidence['baseline']} has {float(accuracy['live']['value']):.3f}"
    return text
