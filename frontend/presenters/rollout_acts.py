"""How one reader may steer a rollout: going back first, forward with care."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid, NotFound
from controlplane.workflow import services as workflow
from deployments.models import Deployment, Rollout
from deployments.services import revisions, rollouts
from deployments.states import DEPLOYMENT, ROLLOUT
from frontend import words
from frontend.forms.base import PageForm
from frontend.forms.rollouts import GoBackForm, PauseForm, StepForm
from frontend.presenters.acts import Act
from frontend.presenters.rollout import RolloutPage, is_current

_ICONS = {
    "roll_back": "undo",
    "pause": "pause",
    "resume": "play",
    "advance": "fwd",
    "retry_rollback": "refresh",
    "roll_back_live": "undo",
}


def acts(page: RolloutPage) -> list[Act]:
    """Return the steps that the reader may ever take here, those refused now with the reason."""
    steps = workflow.available_steps(ROLLOUT, page.record, page.actor, blockers=_blockers(page))
    found = {step.name: step for step in steps if step.permitted}
    order = ("roll_back", "retry_rollback", "pause", "resume", "advance")
    offered = [
        _act(page, name, allowed=found[name].allowed, reasons=found[name].reasons)
        for name in order
        if name in found
    ]
    if page.state == "succeeded":
        offered += _way_back(page)
    return offered


def form_of(name: str, data: Mapping[str, Any] | None, *, page: RolloutPage) -> PageForm:
    if name in {"roll_back", "roll_back_live"}:
        return GoBackForm(data, auto_id=f"{name}_%s")
    if name == "advance":
        return StepForm(data, initial={"step": page.record.step}, auto_id="advance_%s")
    return PauseForm(data, auto_id=f"{name}_%s")


def perform(name: str, page: RolloutPage, form: PageForm, *, actor: Actor) -> None:
    """Take the step; the service asks every question again and records a refusal.

    Raises:
        DomainError: as the service says. NotFound: there is no such step.
    """
    pk = page.record.pk
    if name == "roll_back":
        rollouts.roll_back(pk, actor=actor, reason=_reason(form))
    elif name == "roll_back_live":
        rollouts.roll_back_deployment(page.record.deployment_id, actor=actor, reason=_reason(form))
    elif name == "pause":
        rollouts.pause(pk, actor=actor, reason=form.cleaned_data["reason"])
    elif name == "resume":
        rollouts.resume(pk, actor=actor)
    elif name == "advance":
        rollouts.advance(pk, actor=actor, expected_step=form.cleaned_data["step"])
    else:
        raise NotFound(f"There is no step {name!r}.")


def _act(page: RolloutPage, name: str, *, allowed: bool, reasons: tuple[str, ...]) -> Act:
    target = page.replaces or "nothing"
    share = page.share_at(page.record.step + 1)
    label, question, confirm, effect = {
        "roll_back": (
            "Abort and roll back…",
            f"Abort and roll back {page.model_name} {page.version}?",
            f"Roll back to {target} now" if page.replaces else "Take it out of service now",
            f"All requests return to {target}, which is still loaded. Nothing is prepared first."
            if page.replaces
            else "No earlier version exists: the address answers 503 with a sentence afterwards.",
        ),
        "retry_rollback": ("Try the rollback again", "Try the rollback again?", "Try again", ""),
        "pause": (
            "Pause…",
            f"Pause the rollout of {page.model_name} {page.version}?",
            "Pause the rollout",
            "The shares stay as they are until somebody resumes or rolls back.",
        ),
        "resume": (
            "Resume…",
            f"Resume the rollout of {page.model_name} {page.version}?",
            "Resume the rollout",
            "The step begins anew, and its requests are counted from zero.",
        ),
        "advance": (
            "Advance now…",
            f"Send {share} of requests to {page.version} now?",
            f"Advance to {share}",
            "The hold time of this step is cut short; the guard stays on.",
        ),
    }[name]
    return Act(
        name=name,
        label=label,
        url=page.act_url(name),
        question=question,
        confirm=confirm,
        cancel="Keep rolling out" if name == "roll_back" else "Cancel",
        effect=effect,
        back=page.url,
        form=form_of(name, None, page=page),
        is_dangerous=name == "roll_back",
        allowed=allowed,
        why_not=reasons[0] if reasons else "",
        icon=_ICONS[name],
        style="bad-solid lg" if name in {"roll_back", "retry_rollback"} else "",
    )


def _way_back(page: RolloutPage) -> list[Act]:
    """Return the one-click way back after the rollout has ended, while its version still serves."""
    deployment: Deployment = page.record.deployment
    now = revisions.current(deployment)
    if not is_current(now, page.record):
        return []
    ways = revisions.rollback_set(deployment, now.stable if now else None)
    steps = workflow.available_steps(DEPLOYMENT, deployment, page.actor)
    step = next((item for item in steps if item.name == "roll_back" and item.permitted), None)
    if step is None or not ways:
        return []
    target = words.version_words(ways[0])
    return [
        Act(
            name="roll_back_live",
            label=f"Roll back to {target}…",
            url=page.act_url("roll_back_live"),
            question=f"Roll {page.model_name} back to {target}?",
            confirm=f"Roll back to {target} now",
            effect=f"All requests go to {target}. It needs no approval and no check.",
            back=page.url,
            form=form_of("roll_back_live", None, page=page),
            is_dangerous=True,
            icon="undo",
            style="bad-solid lg",
        )
    ]


def _blockers(page: RolloutPage) -> dict[str, Any]:
    rollout: Rollout = page.record

    def at_last_step() -> list[str]:
        if rollout.step + 1 >= len(rollout.plan["steps_basis_points"]):
            return ["It is at the last step of its plan; the time of watching decides now."]
        return []

    return {"advance": at_last_step}


def _reason(form: PageForm) -> str:
    if not isinstance(form, GoBackForm):
        raise Invalid("Say why it goes back.")
    return form.sentence()
