"""Environments and the policies that stand before them."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.audit import services as audit
from controlplane.core import canonical_json
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound
from controlplane.workflow import services as workflow
from registry import policies
from registry.models import Environment, Model, Policy

SHIPPED = (
    ("staging", "Staging", Environment.Kind.STAGING, "staging", 1),
    ("production", "Production", Environment.Kind.PROD, "production", 2),
)


@transaction.atomic
def ship_defaults(
    workspace: Workspace, *, actor: Actor, sources: Mapping[str, str] | None = None
) -> None:
    """The workspace has the shipped environments, each with a policy for every risk tier.

    ``sources`` are the YAML of first policies by tier, in place of the shipped ones. What is
    there already stays as it is.
    """
    for key, name, kind, alias, order in SHIPPED:
        environment, created = Environment.objects.get_or_create(
            workspace=workspace,
            key=key,
            defaults={"name": name, "kind": kind, "guarded_alias": alias, "order": order},
        )
        if created:
            audit.record(
                "environment.create",
                actor=actor,
                obj=audit.ref(environment),
                after={"kind": kind, "guarded_alias": alias},
            )
        for tier in Model.RiskTier.values:
            if not environment.policies.filter(risk_tier=tier).exists():
                source = (sources or {}).get(tier) or policies.default_source(tier)
                _activate(environment, tier, source, actor=actor)


@transaction.atomic
def activate_policy(
    environment_id: int, risk_tier: str, source: str, *, actor: Actor, reason: str
) -> Policy:
    """A new version of the policy applies from now on; the one before is superseded.

    Raises:
        Invalid: the YAML or the tier is not understood.
        Blocked: it would ask less than the present one, which needs two people.
    """
    environment = workflow.lock(Environment.objects.all(), what="environment", pk=environment_id)
    with workflow.refusals("policy.activate", actor=actor, obj=environment):
        access.require(actor, "configure", environment)
        if risk_tier not in Model.RiskTier.values:
            raise Invalid(
                f"{risk_tier!r} is not a risk tier; use {', '.join(Model.RiskTier.values)}."
            )
        body = policies.parse(source)
        present = active_policy(environment, risk_tier)
        laxer = lowered(policies.from_json(present.body), body) if present else []
        if laxer:
            raise Blocked(
                f"This policy asks less than the present one: {laxer[0]} Lowering a guard needs "
                "two people, which this installation cannot do yet.",
                reasons=laxer,
            )
    return _activate(environment, risk_tier, source, actor=actor, reason=reason)


def active_policy(environment: Environment, risk_tier: str) -> Policy | None:
    return Policy.objects.filter(
        environment=environment, risk_tier=risk_tier, state=Policy.State.ACTIVE
    ).first()


def require_policy(environment: Environment, risk_tier: str) -> Policy:
    """Return the policy that applies.

    Raises:
        Blocked: there is none; without a policy nothing passes.
    """
    policy = active_policy(environment, risk_tier)
    if policy is None:
        raise Blocked(
            f"{environment.name} has no policy for models of {risk_tier} risk, and without one "
            "nothing passes. A workspace administrator can activate one."
        )
    return policy


def by_key(workspace_id: int, key: str) -> Environment:
    """Return the environment of that name.

    Raises:
        NotFound: the workspace has none; the sentence lists those it has.
    """
    environments = {item.key: item for item in Environment.objects.filter(workspace=workspace_id)}
    if key not in environments:
        raise NotFound(
            f"There is no environment {key!r}; there are {', '.join(environments) or 'none'}."
        )
    return environments[key]


def by_guarded_alias(workspace_id: int, alias: str) -> Environment | None:
    return Environment.objects.filter(workspace=workspace_id, guarded_alias=alias).first()


def _activate(
    environment: Environment, risk_tier: str, source: str, *, actor: Actor, reason: str = ""
) -> Policy:
    body = policies.parse(source).to_json()
    newest = environment.policies.filter(risk_tier=risk_tier).order_by("-number").first()
    digest = canonical_json.digest(body)
    if newest and newest.state == Policy.State.ACTIVE and newest.digest == digest:
        raise Conflict(f"This is {newest} already.")
    environment.policies.filter(risk_tier=risk_tier, state=Policy.State.ACTIVE).update(
        state=Policy.State.SUPERSEDED
    )
    policy = Policy.objects.create(
        environment=environment,
        risk_tier=risk_tier,
        number=newest.number + 1 if newest else 1,
        source=source,
        body=body,
        digest=digest,
        created_by_id=actor.user_id,
    )
    audit.record(
        "policy.activate",
        actor=actor,
        obj=audit.ref(policy),
        reason=reason,
        before={"policy": newest.digest if newest else None},
        after={"policy": digest},
        digests={"policy": digest},
    )
    return policy


def lowered(old: policies.PolicyBody, new: policies.PolicyBody) -> list[str]:
    """Return in what the new policy asks less than the old one."""
    found = []
    new_gates = {gate.name: gate for gate in new.gates}
    for gate in old.gates:
        other = new_gates.get(gate.name)
        if other is None or other.kind != gate.kind:
            found.append(f"the check “{gate.title}” is gone.")
        elif gate.at_least and float(other.at_least or 0) < float(gate.at_least):
            found.append(f"the floor of “{gate.title}” falls to {other.at_least}.")
        elif gate.margin and float(other.margin or 0) > float(gate.margin):
            found.append(f"the margin of “{gate.title}” widens to {other.margin}.")
        elif gate.max_age_hours and not 0 < other.max_age_hours <= gate.max_age_hours:
            found.append(f"“{gate.title}” takes older evidence.")
    quorums = {slot.slot: slot.quorum for slot in new.reviews}
    for slot in old.reviews:
        if quorums.get(slot.slot, 0) < slot.quorum:
            found.append(f"the slot {slot.slot} needs fewer people.")
    guard, other_guard = old.rollout.guard, new.rollout.guard
    if float(other_guard.error_margin) > float(guard.error_margin):
        found.append("the guard on errors is wider.")
    if other_guard.minimum_requests < guard.minimum_requests:
        found.append("a canary step may end with fewer requests.")
    return found
