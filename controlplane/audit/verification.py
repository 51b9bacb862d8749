"""When the ledger is verified by itself, and how the result becomes an entry of it."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings

from controlplane.audit import connections, services
from controlplane.audit.payloads import ObjectRef
from controlplane.audit.queries import last_verify
from controlplane.audit.sealer_files import VERIFIER_FILE, read_trusted_keys
from controlplane.audit.verify import Report, verify
from controlplane.core import clock
from controlplane.core.actor import Actor

EVERY = timedelta(hours=1)
IN_FULL_EVERY = timedelta(hours=24)
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


def verify_when_due(*, actor: Actor) -> Report | None:
    """Verify what is new if the last time is an hour ago, and everything once a day.

    Returns None when nothing was due.
    """
    newest = last_verify()
    now = clock.now()
    if newest is not None and now - newest.at < EVERY:
        return None
    in_full = last_verify(since=0)
    is_full_due = in_full is None or now - in_full.at >= IN_FULL_EVERY
    # What did not hold is looked at again in full: findings do not heal by being passed over.
    if is_full_due or newest is None or not newest.is_intact:
        return verify_now(actor=actor)
    return verify_now(actor=actor, since=newest.size)
