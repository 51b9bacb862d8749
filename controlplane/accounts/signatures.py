"""The password given again, for one act on one subject."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import transaction

from controlplane.access.refusals import refusals
from controlplane.accounts import throttle
from controlplane.accounts.models import Signature, User
from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import Conflict, NotPermitted

GOOD_FOR = timedelta(seconds=60)


@transaction.atomic
def sign(*, actor: Actor, password: str, subject_digest: str) -> Signature:
    """Return a signature of this person over this digest; it is good once, for a minute.

    Raises:
        NotPermitted: the actor is no person, or the password is not theirs.
        TooMany: too many wrong passwords lately.
    """
    target = _target(subject_digest, actor)
    with refusals("signature.give", actor=actor, obj=target):
        user = User.objects.filter(pk=actor.user_id or 0, is_active=True).first()
        if not actor.is_human or user is None or actor.job_id is not None:
            raise NotPermitted("Only a person can sign.", code="not_a_person")
        throttle.require_patience(who=f"signature:{user.pk}", ip=actor.ip)
        if not user.check_password(password):
            throttle.note_wrong(who=f"signature:{user.pk}", ip=actor.ip)
            raise NotPermitted(
                "The password is not yours. Nothing was signed.", code="wrong_password"
            )
    throttle.note_right(who=f"signature:{user.pk}", ip=actor.ip)
    signature = Signature.objects.create(user=user, subject_digest=subject_digest)
    audit.record("signature.give", actor=actor, obj=target, digests={"subject": subject_digest})
    return signature


def spend(
    signature_id: uuid.UUID, *, actor: Actor, subject_digest: str, within: timedelta = GOOD_FOR
) -> Signature:
    """Use the signature up, in the caller's transaction: a second use finds nothing.

    Raises:
        NotPermitted: it is not this person's, or was given for another subject.
        Conflict: it was used already, or is too old.
    """
    target = _target(subject_digest, actor)
    with refusals("signature.spend", actor=actor, obj=target):
        found = Signature.objects.select_for_update().filter(pk=signature_id).first()
        if found is None or found.user_id != actor.user_id:
            raise NotPermitted("This signature is not yours.", code="signature_foreign")
        if found.subject_digest != subject_digest:
            raise NotPermitted(
                "What you signed is not what would be decided on now. Read it and sign again.",
                code="signature_for_other_subject",
            )
        if found.spent_at is not None:
            raise Conflict("This signature was used already. Sign again.", code="signature_spent")
        if found.given_at < now() - within:
            raise Conflict(
                f"This signature is older than {int(within.total_seconds())} seconds. Sign again.",
                code="signature_expired",
            )
    found.spent_at = now()
    found.save(update_fields=["spent_at"])
    return found


def _target(subject_digest: str, actor: Actor) -> audit.ObjectRef:
    return audit.ObjectRef("subject", subject_digest, subject_digest[:8], actor.workspace_id)
