"""Tokens: shown once, kept as SHA-256, recognised by their shape, ended by time or by hand.

``gh_<kind>_<id>_<random>_<check>``: the check digits tell a mistyped token from an unknown one
without a query, and let scanners for leaked secrets find ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
import zlib
from collections.abc import Collection
from datetime import timedelta

from django.db import models, transaction
from django.db.models import Q

from controlplane.access import roles
from controlplane.access import services as access
from controlplane.access.refusals import refusals
from controlplane.accounts.models import VERBS, ApiToken, User, Workspace
from controlplane.accounts.workspaces import open_to
from controlplane.audit import services as audit
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.clock import now
from controlplane.core.errors import Conflict, Invalid, NotFound, NotPermitted, NotSignedIn

LONGEST = {
    ApiToken.Kind.HUMAN: timedelta(days=90),
    ApiToken.Kind.SERVICE: timedelta(days=365),
    ApiToken.Kind.JOB: timedelta(days=14),
    ApiToken.Kind.PREDICT: timedelta(days=365),
}
USE_NOTED_EVERY = timedelta(minutes=5)
JOB_SCOPES = ("view", "contribute")


@transaction.atomic
def issue(
    *,
    actor: Actor,
    user: User,
    workspace: Workspace,
    name: str,
    kind: str,
    lifetime: timedelta,
    scopes: Collection[str] | None = None,
    deployments: Collection[str] = (),
    job_id: uuid.UUID | None = None,
    on_behalf_of: str = "",
) -> tuple[ApiToken, str]:
    """Return a new token and its secret, which is kept nowhere.

    People issue for themselves; administrators of the workspace for its service accounts; the
    product for its jobs. A token never outlives the limit of its kind, and one made with a
    narrowed token is no wider.

    Raises:
        NotPermitted: it is for somebody else.
        Invalid: the name, kind, lifetime or a scope is not allowed.
    """
    with refusals("token.issue", actor=actor, obj=_user_ref(user, workspace)):
        _require_may_issue(actor, user, workspace)
        kind = _valid_kind(kind, user)
        if kind == ApiToken.Kind.PREDICT:
            access.require(actor, "contribute", workspace)
        elif deployments:
            raise Invalid(
                "Only a token of kind predict is limited to deployments.",
                fields={"deployments": ["only for kind predict"]},
            )
        allowed = _valid_scopes(kind, scopes, actor)
        if not name.strip() or len(name) > 100:
            raise Invalid(
                "A token needs a name of 1 to 100 characters.",
                fields={"name": ["1–100 characters"]},
            )
        if not timedelta(0) < lifetime <= LONGEST[ApiToken.Kind(kind)]:
            days = LONGEST[ApiToken.Kind(kind)].days
            raise Invalid(
                f"A {kind} token lives at most {days} days.",
                fields={"lifetime": [f"more than 0 and at most {days} days"]},
            )
    token = ApiToken(
        kind=kind,
        user=user,
        workspace=workspace,
        name=name.strip(),
        scopes=allowed,
        deployments=sorted(deployments),
        job_id=job_id,
        on_behalf_of=on_behalf_of,
        expires_at=now() + lifetime,
    )
    secret = _secret(kind, token.pk)
    token.sha256 = digest(secret)
    token.hint = secret[:16]
    token.save(force_insert=True)
    audit.record(
        "token.issue",
        actor=actor,
        obj=_ref(token),
        after={
            "kind": kind,
            "user": user.actor_id,
            "scopes": allowed,
            "expires_at": token.expires_at.isoformat(),
        },
    )
    return token, secret


@transaction.atomic
def revoke(token_id: uuid.UUID | str, *, actor: Actor, reason: str) -> ApiToken:
    """End a token at once. Its owner may, and administrators of its workspace.

    Raises:
        NotFound: there is none that the actor may end.
        Conflict: it has been revoked already.
    """
    token = (
        ApiToken.objects.select_for_update(of=("self",))
        .select_related("user", "workspace")
        .filter(pk=_as_uuid(token_id))
        .first()
    )
    if token is None:
        raise NotFound("There is no such token.")
    with refusals("token.revoke", actor=actor, obj=_ref(token)):
        is_own = actor.user_id == token.user_id
        if not is_own and not access.can(actor, "admin_access", token.workspace).allowed:
            raise NotFound("There is no such token.")
        if token.revoked_at is not None:
            raise Conflict(f"The token {token.name} has been revoked already.")
    token.revoked_at = now()
    token.save(update_fields=["revoked_at"])
    audit.record("token.revoke", actor=actor, obj=_ref(token), reason=reason)
    return token


@transaction.atomic
def revoke_job_tokens(job_id: uuid.UUID, *, actor: Actor) -> int:
    """End every token of a job's attempts; return how many were still good."""
    live = ApiToken.objects.select_for_update().filter(job_id=job_id, revoked_at__isnull=True)
    ended = list(live.select_related("user", "workspace"))
    for token in ended:
        token.revoked_at = now()
        token.save(update_fields=["revoked_at"])
        audit.record("token.revoke", actor=actor, obj=_ref(token))
    return len(ended)


def authenticate(
    secret: str, *, workspace: str = "", request_id: str = "", ip: str = "", agent: str = ""
) -> Actor:
    """Return who acts with this token, in its home workspace or in the one asked for by key.

    One query when no other workspace is asked for.

    Raises:
        NotSignedIn: it is malformed, unknown, expired or revoked, or its owner was deactivated.
        NotFound: its owner belongs to no workspace of that key.
    """
    token = _genuine(secret)
    moment = now()
    if token.revoked_at is not None:
        raise NotSignedIn("This token was revoked. Issue a new one.", code="token_revoked")
    if token.expires_at <= moment:
        ended = token.expires_at.strftime("%-d %B %Y at %H:%M UTC")
        raise NotSignedIn(f"This token expired on {ended}. Issue a new one.", code="token_expired")
    user = token.user
    if not user.is_active:
        raise NotSignedIn("The owner of this token was deactivated.", code="owner_deactivated")
    if token.last_used_at is None or token.last_used_at < moment - USE_NOTED_EVERY:
        ApiToken.objects.filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lt=moment - USE_NOTED_EVERY), pk=token.pk
        ).update(last_used_at=moment)
    workspace_id = token.workspace_id
    if workspace:
        workspace_id = _chosen_workspace(token, workspace)
    return Actor(
        id=user.actor_id,
        kind=ActorKind(user.kind),
        user_id=user.pk,
        workspace_id=workspace_id,
        auth=f"token:{token.kind}",
        scopes=None if token.scopes is None else frozenset(token.scopes),
        on_behalf_of=token.on_behalf_of or _answerable(user),
        job_id=str(token.job_id) if token.job_id else None,
        request_id=request_id,
        ip=ip,
        agent=agent,
        label=str(user),
    )


def of_interest_to(actor: Actor) -> models.QuerySet[ApiToken]:
    """Return the actor's own tokens in the present workspace and, for administrators of access,
    those of its service accounts; a job's tokens are the product's affair and are left out."""
    mine = Q(user=actor.user_id)
    workspace = Workspace.objects.filter(pk=actor.workspace_id or 0).first()
    if workspace is not None and access.can(actor, "admin_access", workspace).allowed:
        mine |= Q(user__kind=User.Kind.SERVICE)
    return (
        ApiToken.objects.filter(mine, workspace=actor.workspace_id)
        .exclude(kind=ApiToken.Kind.JOB)
        .select_related("user", "workspace")
    )


def digest(secret: str) -> str:
    """Return what is kept of a token: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _genuine(secret: str) -> ApiToken:
    parts = secret.split("_")
    if len(parts) != 5 or parts[0] != "gh" or not secret.isascii():
        raise NotSignedIn("This is not a Gatehouse token.", code="token_malformed")
    if not hmac.compare_digest(_check("_".join(parts[:4])), parts[4]):
        raise NotSignedIn("This token is mistyped or cut off.", code="token_malformed")
    found = ApiToken.objects.select_related("user").filter(pk=_as_uuid(parts[2])).first()
    if found is None or not hmac.compare_digest(found.sha256, digest(secret)):
        raise NotSignedIn("This token is unknown here.", code="token_unknown")
    return found


def _secret(kind: str, token_id: uuid.UUID) -> str:
    chance = base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    body = f"gh_{kind}_{token_id.hex}_{chance}"
    return f"{body}_{_check(body)}"


def _check(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _chosen_workspace(token: ApiToken, key: str) -> int:
    chosen = open_to(token.user).filter(key=key).values_list("pk", flat=True).first()
    # A job's or a gateway's token is for one workspace only, whoever its owner is.
    if chosen is None or (token.kind in {"job", "predict"} and chosen != token.workspace_id):
        raise NotFound(f"There is no workspace {key} that you belong to.")
    return chosen


def _answerable(user: User) -> str | None:
    return f"user:{user.owner_id}" if user.owner_id else None


def _require_may_issue(actor: Actor, user: User, workspace: Workspace) -> None:
    if not user.is_active:
        raise Invalid("The account was deactivated; it can have no tokens.")
    if not open_to(user).filter(pk=workspace.pk).exists():
        raise Invalid("The account does not belong to this workspace.")
    if actor.is_system:
        return
    if actor.job_id or actor.auth == f"token:{ApiToken.Kind.PREDICT}":
        raise NotPermitted("A job's token or a prediction token cannot issue further tokens.")
    if actor.user_id == user.pk and actor.is_human:
        return
    if user.kind == User.Kind.SERVICE:
        access.require(actor, "admin_access", workspace)
        return
    raise NotPermitted("People issue their own tokens; nobody can issue one for somebody else.")


def _valid_kind(kind: str, user: User) -> str:
    if kind not in ApiToken.Kind.values:
        raise Invalid(f"There is no kind of token {kind!r}.", fields={"kind": ["unknown"]})
    if kind in {ApiToken.Kind.HUMAN, ApiToken.Kind.SERVICE} and kind != user.kind:
        raise Invalid(f"A {user.kind} account cannot have a {kind} token.")
    return kind


def _valid_scopes(kind: str, scopes: Collection[str] | None, actor: Actor) -> list[str] | None:
    if kind == ApiToken.Kind.JOB:
        scopes = JOB_SCOPES if scopes is None else scopes
    if kind == ApiToken.Kind.PREDICT:
        scopes = ()
    if scopes is None:
        return None if actor.scopes is None else sorted(actor.scopes)
    unknown = sorted(set(scopes) - set(VERBS))
    if unknown:
        raise Invalid(
            f"There is no verb {unknown[0]!r} to narrow a token to.", fields={"scopes": unknown}
        )
    if actor.scopes is not None and not set(scopes) <= actor.scopes:
        raise NotPermitted("A narrowed token cannot issue a wider one.")
    if kind == ApiToken.Kind.JOB and set(scopes) & roles.HUMAN_VERBS:
        raise Invalid("A job never reviews and never breaks glass.")
    return sorted(set(scopes))


def _as_uuid(value: uuid.UUID | str) -> uuid.UUID:
    """Return the identifier; one that no token has for what is none."""
    try:
        return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
    except ValueError:
        return uuid.UUID(int=0)


def _ref(token: ApiToken) -> audit.ObjectRef:
    return audit.ObjectRef("token", str(token.pk), token.hint, token.workspace_id)


def _user_ref(user: User, workspace: Workspace) -> audit.ObjectRef:
    # People are opaque in the ledger: names are looked up by who shows it.
    return audit.ObjectRef("user", str(user.pk), user.actor_id, workspace.pk)
