"""Tokens: issued once, recognised, narrowed, ended."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.access import services as access
from controlplane.accounts import tokens
from controlplane.accounts.models import ApiToken, User, Workspace
from controlplane.audit.models import Event
from controlplane.core.actor import ActorKind
from controlplane.core.clock import now
from controlplane.core.errors import Conflict, Invalid, NotFound, NotPermitted, NotSignedIn
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])
DAY = timedelta(days=1)


@pytest.fixture
def space() -> Workspace:
    return make.workspace()


@pytest.fixture
def ana(space: Workspace) -> User:
    return make.person("ml_engineer", workspace=space)


def test_a_token_names_its_owner_and_only_its_hash_is_kept(ana: User, space: Workspace) -> None:
    token, secret = tokens.issue(
        actor=make.acting(ana), user=ana, workspace=space, name="laptop", kind="human", lifetime=DAY
    )
    assert re.fullmatch(r"gh_human_[0-9a-f]{32}_[a-z2-7]{52}_[0-9a-f]{8}", secret)
    actor = tokens.authenticate(secret, request_id="r1", ip="::1", agent="curl")
    assert (actor.id, actor.kind, actor.workspace_id) == (ana.actor_id, ActorKind.HUMAN, space.pk)
    assert (actor.auth, actor.scopes, actor.request_id) == ("token:human", None, "r1")
    stored = ApiToken.objects.filter(pk=token.pk).values().get()
    assert secret not in str(stored)
    assert secret.startswith(stored["hint"])
    event = Event.objects.filter(action="token.issue", object_id=str(token.pk)).get()
    assert secret.split("_")[3] not in event.payload


def test_one_query_recognises_a_token_that_was_used_lately(ana: User) -> None:
    secret = make.token(ana)
    tokens.authenticate(secret)
    with CaptureQueriesContext(connection) as queries:
        tokens.authenticate(secret)
    assert len(queries) == 1


def _altered(secret: str, place: int) -> str:
    return secret[:place] + ("a" if secret[place] != "a" else "b") + secret[place + 1 :]


def test_wrong_tokens_are_told_apart_only_as_far_as_it_helps(ana: User) -> None:
    secret = make.token(ana)
    for wrong, code in [
        ("", "token_malformed"),
        ("gh_human_x", "token_malformed"),
        ("Bearer", "token_malformed"),
        (secret[:-1], "token_malformed"),
        (_altered(secret, 60), "token_malformed"),
        (secret + "é", "token_malformed"),
    ]:
        with pytest.raises(NotSignedIn) as caught:
            tokens.authenticate(wrong)
        assert caught.value.error_code == code
    ApiToken.objects.all().delete()
    with pytest.raises(NotSignedIn, match="unknown here"):
        tokens.authenticate(secret)


def test_a_token_ends_by_time(ana: User) -> None:
    secret = make.token(ana)
    ApiToken.objects.filter(user=ana).update(expires_at=now() - timedelta(seconds=1))
    with pytest.raises(NotSignedIn, match="expired on"):
        tokens.authenticate(secret)


def test_a_token_ends_by_hand_once(ana: User) -> None:
    secret = make.token(ana)
    token = ApiToken.objects.get(user=ana)
    tokens.revoke(token.pk, actor=make.acting(ana), reason="lost laptop")
    with pytest.raises(NotSignedIn, match="was revoked"):
        tokens.authenticate(secret)
    with pytest.raises(Conflict, match="already"):
        tokens.revoke(token.pk, actor=make.acting(ana), reason="again")


def test_others_tokens_do_not_exist_for_who_may_not_end_them(ana: User, space: Workspace) -> None:
    make.token(ana)
    token = ApiToken.objects.get(user=ana)
    other = make.person("ml_engineer", workspace=space)
    with pytest.raises(NotFound, match="no such token"):
        tokens.revoke(token.pk, actor=make.acting(other), reason="x")
    with pytest.raises(NotFound, match="no such token"):
        tokens.revoke("nonsense", actor=make.acting(other), reason="x")
    admin = make.person("workspace_admin", workspace=space)
    tokens.revoke(token.pk, actor=make.acting(admin), reason="left")


def test_nobody_issues_a_token_for_somebody_else(ana: User, space: Workspace) -> None:
    admin = make.person("workspace_admin", workspace=space)
    with pytest.raises(NotPermitted, match="issue their own"):
        tokens.issue(
            actor=make.acting(admin),
            user=ana,
            workspace=space,
            name="x",
            kind="human",
            lifetime=DAY,
        )


def test_administrators_issue_tokens_of_service_accounts(ana: User, space: Workspace) -> None:
    robot = make.service_account("ci", workspace=space, owner=ana)
    admin = make.person("workspace_admin", workspace=space)
    arguments: dict[str, Any] = {
        "user": robot,
        "workspace": space,
        "name": "pipeline",
        "kind": "service",
        "lifetime": DAY,
    }
    with pytest.raises(NotPermitted):
        tokens.issue(actor=make.acting(ana), **arguments)
    _, secret = tokens.issue(actor=make.acting(admin), **arguments)
    actor = tokens.authenticate(secret)
    assert actor.kind is ActorKind.SERVICE
    assert actor.on_behalf_of == ana.actor_id


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"lifetime": timedelta(days=91)}, "at most 90 days"),
        ({"lifetime": timedelta(0)}, "at most 90 days"),
        ({"name": "  "}, "needs a name"),
        ({"kind": "royal"}, "no kind of token"),
        ({"kind": "service"}, "cannot have a service token"),
        ({"scopes": ["view", "rule"]}, "no verb 'rule'"),
    ],
)
def test_what_a_token_may_not_be(
    more: dict[str, Any], sentence: str, ana: User, space: Workspace
) -> None:
    arguments: dict[str, Any] = {"name": "x", "kind": "human", "lifetime": DAY, **more}
    with pytest.raises(Invalid, match=sentence):
        tokens.issue(actor=make.acting(ana), user=ana, workspace=space, **arguments)


def test_a_narrow_token_issues_no_wider_one(ana: User, space: Workspace) -> None:
    narrow = make.acting(ana, scopes=["view"])
    arguments: dict[str, Any] = {
        "user": ana,
        "workspace": space,
        "name": "x",
        "kind": "human",
        "lifetime": DAY,
    }
    with pytest.raises(NotPermitted, match="wider"):
        tokens.issue(actor=narrow, scopes=["contribute"], **arguments)
    _, secret = tokens.issue(actor=narrow, **arguments)
    assert tokens.authenticate(secret).scopes == frozenset({"view"})


def test_a_jobs_tokens_are_narrow_and_end_together(ana: User, space: Workspace) -> None:
    job_id = uuid.uuid4()
    secrets = [
        tokens.issue(
            actor=make.setup(),
            user=ana,
            workspace=space,
            name="attempt",
            kind="job",
            lifetime=DAY,
            job_id=job_id,
            on_behalf_of=ana.actor_id,
        )[1]
        for _ in range(2)
    ]
    actor = tokens.authenticate(secrets[0])
    assert actor.job_id == str(job_id)
    assert access.verbs_on(actor, space) == {"view", "contribute"}
    with pytest.raises(NotPermitted, match="cannot issue"):
        tokens.issue(actor=actor, user=ana, workspace=space, name="x", kind="human", lifetime=DAY)
    assert tokens.revoke_job_tokens(job_id, actor=make.setup()) == 2
    assert tokens.revoke_job_tokens(job_id, actor=make.setup()) == 0
    with pytest.raises(NotSignedIn):
        tokens.authenticate(secrets[1])


def test_a_prediction_token_opens_nothing_else(ana: User, space: Workspace) -> None:
    _, secret = tokens.issue(
        actor=make.acting(ana),
        user=ana,
        workspace=space,
        name="shop",
        kind="predict",
        lifetime=DAY,
        deployments=["churn"],
    )
    assert access.verbs_on(tokens.authenticate(secret), space) == frozenset()


def test_a_token_acts_at_home_or_where_its_owner_belongs(ana: User, space: Workspace) -> None:
    second, foreign = make.workspace(), make.workspace()
    ana.memberships.create(workspace=second)
    secret = make.token(ana)
    assert tokens.authenticate(secret).workspace_id == space.pk
    assert tokens.authenticate(secret, workspace=second.key).workspace_id == second.pk
    with pytest.raises(NotFound) as hidden:
        tokens.authenticate(secret, workspace=foreign.key)
    with pytest.raises(NotFound) as missing:
        tokens.authenticate(secret, workspace="nowhere")
    assert hidden.value.message.replace(foreign.key, "nowhere") == missing.value.message


def test_an_auditors_token_enters_every_workspace(space: Workspace) -> None:
    auditor = make.person("auditor", workspace=make.workspace())
    actor = tokens.authenticate(make.token(auditor), workspace=space.key)
    assert access.verbs_on(actor, space) == {"view", "audit_read"}
