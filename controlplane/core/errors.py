"""The one family of errors that a rule may raise, each translated once at each door."""

from __future__ import annotations

from typing import Any, ClassVar


class DomainError(Exception):
    """Something was refused, with a sentence for a person and a code for a machine.

    ``code`` never changes; ``status`` is the HTTP status of the REST door; ``details`` is
    JSON-ready and may name fields (``{"fields": {"name": ["…"]}}``) or reasons.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.error_code = code or self.code


class Invalid(DomainError):
    """What was sent cannot be understood or breaks a limit."""

    code = "invalid"


class NotSignedIn(DomainError):
    code = "not_signed_in"
    status = 401


class NotPermitted(DomainError):
    code = "not_permitted"
    status = 403


class NotFound(DomainError):
    """The record does not exist, or the actor may not know that it does."""

    code = "not_found"
    status = 404


class IllegalTransition(DomainError):
    """The record is in a state from which this step does not go."""

    code = "illegal_transition"
    status = 409


class Blocked(DomainError):
    """A rule stands against the step; ``details["reasons"]`` lists sentences."""

    code = "blocked"
    status = 409

    def __init__(self, message: str, *, reasons: list[str] | None = None, **details: Any) -> None:
        super().__init__(message, reasons=reasons or [message], **details)
        self.reasons: list[str] = reasons or [message]


class Conflict(DomainError):
    """It exists already, or somebody else was first."""

    code = "conflict"
    status = 409


class StaleSubject(Conflict):
    """What was read is no longer what would be decided on."""

    code = "stale_subject"


class TooLarge(DomainError):
    code = "too_large"
    status = 413


class TooMany(DomainError):
    code = "too_many_requests"
    status = 429


class Unavailable(DomainError):
    code = "unavailable"
    status = 503
