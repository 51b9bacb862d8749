"""When the ledger is verified by itself, and how the result becomes an entry of it."""

from __future__ import annotations

import uuid
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.core.cache import cache

from controlplane.audit import connections, services
from controlplane.audit.models import Checkpoint
from controlplane.audit.payloads import ObjectRef
from controlplane.audit.queries import last_verify
from controlplane.audit.sealer_files import VERIFIER_FILE, read_trusted_keys
from controlplane.audit.verify import Report, verify
from controlplane.core import clock
from controlplane.core.actor import Actor

EVERY = timedelta(hours=1)
IN_FULL_EVERY = timedelta(hours=24)
_ASK_AGAIN_AFTER = timedelta(minutes=10)
_ASKED = "ledger-verify-asked"
_RECORDED_FINDINGS = 20


def record(report: Report, *, actor: Actor) -> uuid.UUID:
    """Append the verification's result to the ledger."""
    return services.record(
        "ledger.verify",
        actor=actor,
        obj=ObjectRef("ledger", report.origin, report.origin, None),
        outcome="success" if report.is_intact else "failed",
        after={
            "since": report.since,
            "size": report.size,
            "root": report.root,
            "findings": report.findings[:_RECORDED_FINDINGS],
        },
        cause="schedule" if actor.is_system else "human",
    )


def verify_now(*, actor: Actor, since: int = 0) -> Report:
    """Verify and record the result.

    Raises:
        CouldNotVerify, FilesUnusable: the check could not be made.
    """
    keys = read_trusted_keys(settings.LEDGER_STATE_DIR / VERIFIER_FILE)
    with connections.connect_to_read() as connection:
        report = verify(connection, keys, since=since)
    record(report, actor=actor)
    return report


def ask_when_due() -> bool:
    """Have a worker verify the ledger, if that is due; whether it was asked for.

    The scheduler calls this on every tick. A lost message is sent again after ten minutes.
    """
    if not is_due() or not Checkpoint.objects.exists():
        return False
    if not cache.add(_ASKED, True, timeout=_ASK_AGAIN_AFTER.total_seconds()):
        return False
    current_app.send_task("audit.verify", queue="default", retry=False)
    return True


def is_due() -> bool:
    """Whether the last verification is an hour ago."""
    newest = last_verify()
    return newest is None or clock.now() - newest.at >= EVERY


def verify_when_due(*, actor: Actor) -> Report | None:
    """Verify what is new if the last time is an hour ago, and everything once a day.

    Returns None when nothing was due.
    """
    if not is_due():
        return None
    newest, in_full = last_verify(), last_verify(since=0)
    is_full_due = in_full is None or clock.now() - in_full.at >= IN_FULL_EVERY
    # What did not hold is looked at again in full: findings do not heal by being passed over.
    if is_full_due or newest is None or not newest.is_intact:
        return verify_now(actor=actor)
    return verify_now(actor=actor, since=newest.size)
