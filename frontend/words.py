"""How states, numbers, sizes and moments are said, the same on every page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone


@dataclass(frozen=True)
class Look:
    """A state as a reader sees it: words, colour and symbol. No tone means nothing to do."""

    text: str
    tone: str = ""
    icon: str = ""


_LOOKS: dict[str, Look] = {
    # versions and datasets
    "uploading": Look("uploading", "run", "run"),
    "registering": Look("registering", "run", "run"),
    "sealed": Look("sealed", "", "seal"),
    "validated": Look("validated", "ok", "check"),
    "quarantined": Look("quarantined", "bad", "lock"),
    "retired": Look("retired"),
    "purged": Look("purged"),
    "erased": Look("erased", "warn", "warn"),
    # promotions
    "draft": Look("draft"),
    "checking": Look("checks running", "run", "run"),
    "blocked": Look("check failed", "bad", "bad"),
    "in_review": Look("waiting for approval", "run", "clock"),
    "changes_requested": Look("changes requested", "warn", "msg"),
    "approved": Look("approved", "ok", "check"),
    "executing": Look("rolling out", "run", "rollout"),
    "completed": Look("live", "ok", "check"),
    "rejected": Look("rejected", "bad", "bad"),
    "withdrawn": Look("withdrawn"),
    "expired": Look("expired", "warn", "clock"),
    "revoked": Look("revoked", "bad", "undo"),
    "rolled_back": Look("rolled back", "bad", "undo"),
    # rollouts and deployments
    "preparing": Look("preparing", "run", "run"),
    "running": Look("running", "run", "run"),
    "paused": Look("paused", "warn", "pause"),
    "awaiting_approval": Look("waiting for approval", "run", "clock"),
    "rolling_back": Look("rolling back", "warn", "undo"),
    "rollback_failed": Look("rollback failed", "bad", "warn"),
    "baking": Look("live, being watched", "run", "eye"),
    "succeeded": Look("succeeded", "ok", "check"),
    "live": Look("serving", "ok", "check"),
    "degraded": Look("degraded", "bad", "warn"),
    "provisioning": Look("starting", "run", "run"),
    "empty": Look("not serving"),
    # jobs and runs
    "queued": Look("waiting", "", "wait"),
    "dispatched": Look("starting", "run", "run"),
    "preempting": Look("making room", "warn", "pause"),
    "failed": Look("failed", "bad", "bad"),
    "timed_out": Look("timed out", "bad", "clock"),
    "lost": Look("worker lost", "warn", "off"),
    "cancelled": Look("stopped", "", "skip"),
    "scheduled": Look("scheduled", "", "wait"),
    "finished": Look("finished", "ok", "check"),
    "killed": Look("stopped", "", "skip"),
    # checks
    "pending": Look("not run yet", "", "wait"),
    "pass": Look("passed", "ok", "ok"),
    "passed": Look("passed", "ok", "ok"),
    "fail": Look("failed", "bad", "bad"),
    "warn": Look("warning", "warn", "warn"),
    "inconclusive": Look("not enough data", "warn", "warn"),
    "waived": Look("accepted", "warn", "warn"),
    "error": Look("could not run", "bad", "warn"),
    # reviews
    "approve": Look("approved", "ok", "ok"),
    "request_changes": Look("requested changes", "warn", "msg"),
    "reject": Look("rejected", "bad", "bad"),
    "comment": Look("commented", "", "msg"),
    # ledger outcomes: what went as usual is plain text
    "success": Look("done"),
    "refused": Look("denied", "bad", "lock"),
    # records in general
    "active": Look("active"),
    "deprecated": Look("deprecated", "warn", "warn"),
    "frozen": Look("frozen", "warn", "pause"),
    "archived": Look("archived"),
}
_LOOKS_OF_KIND: dict[tuple[str, str], Look] = {
    ("job", "running"): Look("running", "run", "run"),
    ("rollout", "running"): Look("canary", "run", "rollout"),
    ("rollout", "succeeded"): Look("finished", "ok", "check"),
    ("version", "failed"): Look("could not be sealed", "bad", "bad"),
    ("deployment", "paused"): Look("paused", "warn", "pause"),
}


def look_of(state: str, kind: str = "") -> Look:
    """Return how a state is shown; a state nobody described is shown as its own name."""
    name = state.lower()
    return _LOOKS_OF_KIND.get((kind, name)) or _LOOKS.get(name) or Look(name.replace("_", " "))


def version_words(version: Any) -> str:
    semantic = getattr(version, "semantic_version", None) or getattr(version, "semver", None)
    return str(semantic) if semantic else f"v{version.number}"


def number(
    value: float | int | None, *, digits: int = 0, unit: str = "", signed: bool = False
) -> str:
    """Write a number with commas and a true minus sign; nothing measured is "no data"."""
    if value is None:
        return "no data"
    text = f"{abs(value):,.{digits}f}"
    is_zero = float(text.replace(",", "")) == 0
    sign = "−" if value < 0 and not is_zero else "+" if signed and not is_zero else ""
    space = "" if unit in ("", "%") else " "
    return f"{sign}{text}{space}{unit}"


def plural(count: int, one: str, many: str = "") -> str:
    if count == 1:
        return f"1 {one}"
    return f"{count:,} {many or one + 's'}" if count else f"no {many or one + 's'}"


def size(value: int | None) -> str:
    """Write bytes in the unit a person would choose (decimal, as disks and networks count)."""
    if value is None:
        return "no data"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
            )
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(value: timedelta | float | None) -> str:
    """Write a length of time in its two largest units: "14 min 6 s", "2 d 3 h"."""
    if value is None:
        return ""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if 0 < seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {left} s" if left and minutes < 30 else f"{minutes} min"
    return f"{left} s"


def moment(local: datetime, *, seconds: bool = False) -> str:
    """Write a local time: time of day for today, day and month this year, else the full date."""
    today = timezone.localtime().date()
    clock = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
    if local.date() == today:
        return clock
    if local.year == today.year:
        return f"{local:%d %b} {clock}"
    return f"{local:%d %b %Y}"


def hash_short(value: str | None) -> str:
    """Write the two ends of a hash, enough to compare by eye."""
    text = value or ""
    return f"{text[:4]}…{text[-4:]}" if len(text) > 12 else text
