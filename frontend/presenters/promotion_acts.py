"""The acts that a promotion offers to one reader, each with its question and its service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.core.actor import Actor
from controlplane.core.errors import NotFound
from frontend.forms.base import PageForm
from frontend.forms.promotions import DecideForm, ReasonForm
from frontend.presenters.acts import Act
from frontend.presenters.promotion import PromotionPage
from registry.services import promotions, reviews

# What is shown as "who decides" comes first, the requester's own steps after it.
DECISIONS = ("request_changes", "reject")
OTHERS = ("check_again", "execute", "withdraw")


def acts(review: PromotionPage) -> list[Act]:
    """Return every act but approving that the reader may take now, ready to be asked."""
    found = []
    for name in (*DECISIONS, *OTHERS):
        step = review.steps.get(name)
        if step is None or not step.permitted or (name in DECISIONS and not step.allowed):
            continue
        question, confirm, effect = _WORDS[name]
        found.append(
            Act(
                name=name,
                label=step.label
                if step.label.endswith("…") or name == "execute"
                else f"{step.label}…",
                url=review.act_url(name),
                question=question.format(pr=f"PR-{review.number}"),
                confirm=confirm.format(pr=f"PR-{review.number}"),
                effect=effect,
                back=review.url,
                form=form_of(name, None, digest=review.digest),
                is_dangerous=name in {"reject", "withdraw"},
                allowed=step.allowed,
                why_not=step.reasons[0] if step.reasons else "",
            )
        )
    return found


def form_of(name: str, data: Mapping[str, Any] | None, *, digest: str) -> PageForm:
    """Return the form that asks for what the act needs; its ids differ from the page's others."""
    kind = DecideForm if name in DECISIONS else ReasonForm
    return kind(data, initial={"digest": digest}, auto_id=f"{name}_%s")


def perform(name: str, review: PromotionPage, answers: Mapping[str, Any], *, actor: Actor) -> None:
    """Take the step. The service asks every question again and records a refusal.

    Raises:
        DomainError: as the service says. NotFound: there is no such step.
    """
    pk = review.record.pk
    seen, text = answers.get("digest", review.digest), answers.get("text", "")
    if name == "request_changes":
        reviews.request_changes(pk, actor=actor, subject_digest=seen, text=text)
    elif name == "reject":
        reviews.reject(pk, actor=actor, subject_digest=seen, text=text)
    elif name == "withdraw":
        promotions.withdraw(pk, actor=actor, reason=answers.get("reason", ""))
    elif name == "check_again":
        promotions.check_again(pk, actor=actor, reason=answers.get("reason", ""))
    elif name == "execute":
        promotions.execute(pk, actor=actor)
    else:
        raise NotFound(f"There is no step {name!r}.")


_WORDS = {
    "request_changes": (
        "What has to change in {pr}?",
        "Request changes in {pr}",
        "The requester is told. New evidence starts the checks again, and earlier approvals of "
        "other content no longer count.",
    ),
    "reject": (
        "Reject {pr}?",
        "Reject {pr}",
        "The request ends. The version may be asked for again with a new request.",
    ),
    "check_again": (
        "Run the checks of {pr} again?",
        "Run the checks again",
        "Every check reads what is there now. If the content differs, approvals given so far no "
        "longer count.",
    ),
    "execute": (
        "Start the rollout of {pr}?",
        "Start the rollout",
        "Everything that held at the approval is checked once more. Then requests begin to reach "
        "the new version.",
    ),
    "withdraw": (
        "Withdraw {pr}?",
        "Withdraw {pr}",
        "The request ends, and nothing goes live.",
    ),
}
