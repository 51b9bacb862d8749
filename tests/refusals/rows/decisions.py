"""Promotions, their policies, rollouts, and requests that are sent twice."""

from __future__ import annotations

from typing import Any

from controlplane.accounts import signatures
from registry import policies
from registry.models import PromotionRequest
from registry.services import evidence, promotions
from tests.make import PASSWORD
from tests.refusals.scene import Scene
from tests.refusals.table import ABSENT, SUCCESS, UNREAD, Answer, Ask, Row, refused
from tests.rooms import POLICY, SYSTEM

_LONG = "Evaluate it on faint ink first."
_ROLLBACK = "deployments/reader-production/rollback/"


def _ask(who: str = "engineer", **body: Any) -> Ask:
    asked = {"model": "reader", "version": 2, "environment": "staging", **body}
    return lambda scene: scene.rest(who, "POST", "promotions/", asked)


def _decide(step: str, who: str = "approver", **body: str) -> Ask:
    return lambda scene: scene.rest(
        who, "POST", f"{scene.promotion}{step}/", scene.decision(**body)
    )


def _say(who: str = "approver", **body: str) -> Ask:
    return lambda scene: scene.rest(who, "POST", f"{scene.promotion}comment/", body)


def _decide_live(scene: Scene) -> Answer:
    """Approve the promotion that has been completed."""
    done = PromotionRequest.objects.get(version=scene.street.version)
    body = {"subject_digest": done.subject_digest, "password": PASSWORD}
    return scene.rest("approver", "POST", f"promotions/{done.number}/approve/", body)


def _unsigned(scene: Scene) -> Answer:
    """Ask for a version without a signature; return where its promotion stands after the checks."""
    sent = _ask(model="unsigned", version=1)(scene)
    assert sent.status == 201, sent
    made = promotions.check(PromotionRequest.objects.get(version=scene.unsigned).pk, actor=SYSTEM)
    gates = [gate for gate in made.gates.all() if gate.outcome != "pass"]
    assert [gate.name for gate in gates] == ["signature"]
    shown = scene.rest("viewer", "GET", f"promotions/{made.number}/")
    return Answer(shown.status, made.state, gates[0].sentence)


def _evaluated_unsigned(scene: Scene) -> None:
    estimate = {"value": "0.95", "low": "0.94", "high": "0.96", "n": 400}
    metric = {"name": "accuracy", "title": "Accuracy", "direction": "higher"}
    figures = {**metric, "candidate": estimate, "live": None, "difference": None}
    evidence.attach(
        scene.unsigned.pk,
        actor=SYSTEM,
        body={"rows": 400, "metrics": [figures], "slices": []},
        dataset_version=None,
        baseline=None,
        job_id=None,
    )


def _policy(source: str, tier: str = "medium", who: str = "admin") -> Ask:
    body = {"risk_tier": tier, "source": source, "reason": "Asked for by the team."}
    return lambda scene: scene.rest(who, "POST", "environments/production/policies/", body)


def _roll(step: str, who: str = "second operator", **body: Any) -> Ask:
    return lambda scene: scene.rest(who, "POST", f"rollouts/{scene.rollout.pk}/{step}/", body)


def _advanced_once(scene: Scene) -> None:
    _ = scene.corner
    assert _roll("advance", "first operator", expected_step=0)(scene).status == 200


def _twice(scene: Scene, **second: Any) -> Answer:
    """Register a model twice with one key; return the second answer."""
    first = {"name": "once", "description": "The first."}
    for body in (first, {**first, **second}):
        answer = scene.rest("engineer", "POST", "models/", body, Idempotency_Key="key-1")
    return answer


def _signed_before(scene: Scene) -> None:
    """A signature under another digest cannot be spent on this one."""
    signatures.sign(actor=scene.street.approver, password=PASSWORD, subject_digest="1" * 64)


ROWS = [
    Row(
        "a promotion of a retired version",
        lambda scene: _ask(version=scene.retired.number)(scene),
        *(409, "blocked", "is retired; only a sealed version can be promoted."),
        refused("promotion.request"),
        given=lambda scene: scene.retired,
    ),
    Row(
        "a promotion of a version that does not exist",
        _ask(version=99),
        *(404, "not_found", "'reader' has no version 99."),
        ABSENT,
    ),
    Row(
        "a promotion to an environment that does not exist",
        _ask(environment="moon"),
        *(404, "not_found", "There is no environment 'moon'; there are staging, production."),
        ABSENT,
    ),
    Row(
        "a promotion of what is live",
        _ask(version=1, environment="production"),
        *(409, "conflict", "reader 1 is live in Production already."),
        refused("promotion.request"),
    ),
    Row(
        "a second promotion on the same road",
        _ask(environment="production"),
        *(409, "conflict", "asks for reader in Production already."),
        refused("promotion.request"),
    ),
    Row(
        "a promotion by an unknown strategy",
        _ask(strategy="big-bang"),
        *(400, "invalid", "'big-bang' is not a rollout strategy; use blue_green, canary."),
        refused("promotion.request"),
    ),
    Row(
        "a first version as a canary",
        _ask(strategy="canary"),
        *(400, "invalid", "A canary needs a live version to compare with."),
        refused("promotion.request"),
    ),
    Row(
        "a promotion of a version without a signature",
        _unsigned,
        *(200, "blocked", "signature"),
        (("promotion.submit", SUCCESS), ("promotion.block", SUCCESS)),
        given=_evaluated_unsigned,
        leaves={
            "registry_promotionrequest": 1,
            "registry_gateresult": 4,
            "outbox_outboxmessage": 1,
            "accounts_workspace": 0,
        },
    ),
    Row(
        "a promotion that does not exist",
        lambda scene: scene.rest("viewer", "GET", "promotions/99/"),
        *(404, "not_found", "There is no promotion"),
        ABSENT,
    ),
    Row(
        "an approval of something else than what was read",
        lambda scene: scene.rest(
            "approver",
            "POST",
            f"{scene.promotion}approve/",
            {"subject_digest": "0" * 64, "password": PASSWORD},
        ),
        *(409, "stale_subject", "nothing was recorded as your decision"),
        refused("promotion.approve"),
    ),
    Row(
        "an approval without a digest",
        lambda scene: scene.rest(
            "approver", "POST", f"{scene.promotion}approve/", {"password": PASSWORD}
        ),
        *(400, "invalid", "subject_digest: This field is required."),
        UNREAD,
    ),
    Row(
        "an approval with a wrong password",
        _decide("approve", password="not-the-password"),
        *(403, "wrong_password", "password"),
        refused("signature.give"),
        given=_signed_before,
    ),
    Row(
        "an approval by who trained it",
        _decide("approve", "engineer", password=PASSWORD),
        *(403, "separation_of_duties", "so another person must decide."),
        refused("promotion.approve"),
    ),
    Row(
        "an approval by a service account",
        _decide("approve", "robot", password=PASSWORD),
        *(403, "not_permitted", "Only a person can approve."),
        refused("promotion.approve"),
    ),
    Row(
        "an approval of a promotion that is over",
        _decide_live,
        *(409, "illegal_transition", "it is completed"),
        refused("promotion.approve"),
    ),
    Row(
        "a rejection without a text",
        _decide("reject", text=""),
        *(400, "invalid", "Give a reason of at least 20 characters"),
        refused("promotion.reject"),
    ),
    Row(
        "a wish for changes without a text",
        _decide("request-changes", text="   "),
        *(400, "invalid", "Give a reason of at least 20 characters"),
        refused("promotion.request_changes"),
    ),
    Row(
        "a rejection of something else than what was read",
        lambda scene: scene.rest(
            "approver",
            "POST",
            f"{scene.promotion}reject/",
            {"subject_digest": "0" * 64, "text": _LONG},
        ),
        *(409, "stale_subject", "nothing was recorded as your decision"),
        refused("promotion.reject"),
    ),
    Row(
        "an empty comment",
        _say(text=" "),
        *(400, "invalid", "Write something."),
        refused("promotion.comment"),
    ),
    Row(
        "a comment by a service account",
        _say("robot", text=_LONG),
        *(403, "not_permitted", "Only people take part in the discussion."),
        refused("promotion.comment"),
    ),
    Row(
        "a start before the approval",
        lambda scene: scene.rest("operator", "POST", f"{scene.promotion}execute/"),
        *(409, "illegal_transition", "it is in review"),
        refused("promotion.execute"),
    ),
    Row(
        "a policy that is no YAML",
        _policy("gates: [unclosed"),
        *(400, "invalid", "The policy is not valid YAML"),
        refused("policy.activate"),
    ),
    Row(
        "a policy with an unknown check",
        _policy("gates: [{name: luck, kind: luck}]"),
        *(400, "invalid", "policy.gates[0].kind: 'luck' is not one of"),
        refused("policy.activate"),
    ),
    Row(
        "a policy that lets everything pass unseen",
        _policy("gates: [{name: evidence, kind: evidence}]"),
        *(400, "invalid", "policy.reviews: name at least one slot"),
        refused("policy.activate"),
    ),
    Row(
        "a laxer policy",
        _policy(POLICY.replace('"0.90"', '"0.10"')),
        *(409, "blocked", "Lowering a guard needs two people"),
        refused("policy.activate"),
    ),
    Row(
        "a policy for an unknown tier",
        _policy(policies.default_source("low"), tier="huge"),
        *(400, "invalid", "huge"),
        UNREAD,
    ),
    Row(
        "a rollback without a reason",
        lambda scene: scene.rest("operator", "POST", _ROLLBACK, {"reason": " "}),
        *(400, "invalid", "reason: This field may not be blank."),
        UNREAD,
    ),
    Row(
        "a rollback with nowhere to go",
        lambda scene: scene.rest("operator", "POST", _ROLLBACK, {"reason": "Looks wrong."}),
        *(409, "blocked", "reader-production has no earlier version to go back to."),
        refused("deployment.roll_back"),
    ),
    Row(
        "a rollback to a version that was never there",
        lambda scene: scene.rest(
            "operator", "POST", _ROLLBACK, {"reason": "Looks wrong.", "to_version": 2}
        ),
        *(400, "invalid", "Version 2 is not in the rollback set; there are: none."),
        refused("deployment.roll_back"),
    ),
    Row(
        "a deployment that does not exist",
        lambda scene: scene.rest("operator", "POST", "deployments/nowhere/rollback/", {}),
        *(404, "not_found", "There is no deployment"),
        ABSENT,
    ),
    Row(
        "a rollout that does not exist",
        lambda scene: scene.rest("operator", "POST", "rollouts/999999/advance/", {}),
        *(404, "not_found", "There is no rollout"),
        ABSENT,
    ),
    Row(
        "a rollback of a rollout without a reason",
        _roll("rollback", reason=""),
        *(400, "invalid", "Say why it goes back."),
        refused("rollout.roll_back"),
        given=lambda scene: scene.corner,
    ),
    Row(
        "an advance by two operators",
        _roll("advance", expected_step=0),
        *(409, "conflict", "The rollout is at step 2, not 1: it moved meanwhile."),
        refused("rollout.advance"),
        given=_advanced_once,
    ),
    Row(
        "a resume of a rollout that runs",
        _roll("resume"),
        *(409, "illegal_transition", "it is running"),
        refused("rollout.resume"),
        given=lambda scene: scene.corner,
    ),
    Row(
        "a request that is sent twice",
        _twice,
        *(201, "", ""),
        (("model.create", SUCCESS),),
        leaves={"registry_model": 1, "api_answeredrequest": 1},
    ),
    Row(
        "a key that was used for another request",
        lambda scene: _twice(scene, description="The second."),
        *(409, "idempotency_key_reused", "This Idempotency-Key was used for another request."),
        UNREAD,
    ),
    Row(
        "a key that is no key",
        lambda scene: scene.rest(
            "engineer", "POST", "models/", {"name": "other"}, Idempotency_Key="two words"
        ),
        *(400, "invalid", "Idempotency-Key must be 1 to 100 visible ASCII characters."),
        UNREAD,
    ),
]
