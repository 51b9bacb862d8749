"""Why a request was refused, in the words and codes of MLflow's scoring server."""

CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "MODEL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refusal(Exception):
    """A request that gets no prediction, with the status, a code and a sentence for the caller.

    ``retry_after`` is in whole seconds and says when another attempt makes sense.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES[status]
        self.retry_after = retry_after


class ArmFailed(Refusal):
    """The arm, not the caller, is the reason; a candidate's stable arm may answer instead."""
