"""One prediction from its first header to its record: assign, check, ask, fail over, capture."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from controlplane.core.identifiers import uuid7
from deployments.gateway import formats
from deployments.gateway.capture import Capture
from deployments.gateway.errors import ArmFailed, Refusal
from deployments.gateway.routing import Choice, LiveArm, LiveDeployment, pseudonym
from deployments.gateway.signature import Rows
from deployments.gateway.workers import predictions_of

LONGEST_UNIT = 256
FORCE_SCOPE = "predict:force"


@dataclass(slots=True)
class Prediction:
    """What is known of one request; written as one record, whatever became of it."""

    id: str
    started: float
    deployment: LiveDeployment
    choice: Choice
    unit: str | None
    request_id: str
    timeout_seconds: float
    answered_by: LiveArm
    assignment: str
    status: int = 200
    error: str = ""
    rows: Rows | None = None
    outputs: Any = field(default_factory=list)
    queue_us: int = 0
    predict_us: int = 0
    deadline: float = 0.0

    def start_clock(self) -> None:
        """Begin to count: a caller's slow line is neither its deadline's fault nor the model's."""
        self.started = perf_counter()
        self.deadline = asyncio.get_running_loop().time() + self.timeout_seconds

    @property
    def total_us(self) -> int:
        return int((perf_counter() - self.started) * 1_000_000)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what the answer says about itself."""
        spec = self.answered_by.spec
        timing = (
            f"queue;dur={self.queue_us / 1e3:.2f}, predict;dur={self.predict_us / 1e3:.2f}, "
            f"total;dur={self.total_us / 1e3:.2f}"
        )
        pairs = [
            (b"gatehouse-prediction-id", self.id.encode()),
            (b"gatehouse-revision", str(self.deployment.spec.revision).encode()),
            (b"gatehouse-version", str(spec.version).encode()),
            (b"gatehouse-arm", spec.arm.encode()),
            (b"gatehouse-assignment", self.assignment.encode()),
            (b"gatehouse-cache", b"off"),
            (b"server-timing", timing.encode()),
        ]
        if self.request_id:
            pairs.append((b"gatehouse-request-id", self.request_id.encode()))
        return pairs


def begin(
    deployment: LiveDeployment, headers: Mapping[bytes, bytes], scopes: tuple[str, ...]
) -> Prediction:
    """Return the request with its arm, decided from the headers alone.

    Raises:
        Refusal: no live version, no unit where one is needed, a forced arm without the scope.
    """
    started = perf_counter()
    identity = str(uuid7())
    unit = _text(headers, b"gatehouse-unit") or None
    if unit is not None and len(unit) > LONGEST_UNIT:
        raise Refusal(400, f"Gatehouse-Unit is longer than {LONGEST_UNIT} characters.")
    forced = _text(headers, b"gatehouse-arm") or None
    if forced is not None and FORCE_SCOPE not in scopes:
        raise Refusal(403, f"This token lacks the scope {FORCE_SCOPE}, so it cannot choose an arm.")
    choice = deployment.choose(unit, identity, forced)
    return Prediction(
        id=identity,
        started=started,
        deployment=deployment,
        choice=choice,
        unit=unit,
        request_id=_request_id(headers),
        timeout_seconds=_timeout_ms(headers, deployment.spec.deadline_ms) / 1_000,
        answered_by=choice.arm,
        assignment=choice.assignment,
    )


async def answer(prediction: Prediction, content_type: str, body: bytes) -> Any:
    """Return the predictions, from the stable arm if the candidate cannot and may be replaced.

    Raises:
        Refusal: the rows do not fit, or nobody could answer in time.
    """
    deployment = prediction.deployment
    prediction.start_clock()
    prediction.rows = rows = formats.parse(
        content_type, body, deployment.validator, row_limit=deployment.spec.row_limit
    )
    if not rows.count:
        return []
    try:
        prediction.outputs = await _ask(prediction, prediction.choice.arm, rows)
    except ArmFailed as failure:
        stable = _stand_in(prediction, failure)
        if stable is None:
            raise
        # Told apart in the record, so that a guard counts it against the candidate.
        prediction.error = failure.message
        prediction.assignment = "failover"
        prediction.outputs = await _ask(prediction, stable, rows)
        prediction.answered_by = stable
    return prediction.outputs


def record(prediction: Prediction, capture: Capture, *, unit_key: bytes) -> None:
    """Write the prediction to the capture segment.

    ``arm`` is the arm that the request was assigned to, also when stable stood in for it
    (``assignment`` is then ``failover`` and ``error`` the candidate's); ``version_id`` is the
    version that answered.

    Raises:
        Refusal: 503 when the deployment must not answer without a record and none can be kept.
    """
    spec = prediction.deployment.spec
    rows = prediction.rows
    kept = capture.append(
        {
            "id": prediction.id,
            "at": datetime.now(UTC).isoformat(),
            "workspace_id": spec.workspace_id,
            "deployment": spec.name,
            "deployment_id": spec.id,
            "revision_id": spec.revision_id,
            "revision": spec.revision,
            "version_id": prediction.answered_by.spec.version_id,
            "arm": prediction.choice.arm.spec.arm,
            "assignment": prediction.assignment,
            "bucket": prediction.choice.bucket,
            "unit": pseudonym(unit_key, prediction.unit) if prediction.unit else None,
            "status": prediction.status,
            "error": prediction.error,
            "request_id": prediction.request_id,
            "row_count": rows.count if rows else 0,
            "features": _features(prediction.deployment, rows),
            "outputs": prediction.outputs,
            "queue_us": prediction.queue_us,
            "predict_us": prediction.predict_us,
            "total_us": prediction.total_us,
            "cache": "off",
        }
    )
    if not kept and spec.capture_required and prediction.status < 500:
        raise Refusal(
            503,
            "This deployment may not answer without a record, and the record cannot be written.",
            retry_after=10,
        )


async def _ask(prediction: Prediction, arm: LiveArm, rows: Rows) -> Any:
    frame, call = await arm.pool.predict(
        rows.kind,
        rows.body,
        columns=rows.columns,
        rows=rows.count,
        deadline=prediction.deadline,
    )
    now = perf_counter()
    prediction.queue_us = int((call.sent_at - call.queued_at) * 1_000_000)
    prediction.predict_us = int((now - call.sent_at) * 1_000_000)
    outputs = predictions_of(frame)
    if not isinstance(outputs, list) or len(outputs) != rows.count:
        raise ArmFailed(500, f"{arm.pool.label} did not answer with one prediction per row.")
    return outputs


def _stand_in(prediction: Prediction, failure: ArmFailed) -> LiveArm | None:
    """Return the stable arm if it may answer; stable itself and a forced arm have no stand-in."""
    stable = prediction.deployment.stable
    may = (
        prediction.deployment.spec.failover_to_stable
        and prediction.choice.arm is not stable
        and prediction.choice.assignment != "forced"
        and failure.status != 504
    )
    return stable if may else None


def _features(deployment: LiveDeployment, rows: Rows | None) -> list[Any]:
    if rows is None:
        return []
    names = deployment.validator.names
    if not names:
        return [{"tensor": row} for row in rows.values]
    return [dict(zip(names, row, strict=True)) for row in rows.values]


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    value = headers.get(name, b"")
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the caller's own id if it is short and harmless, else nothing."""
    given = _text(headers, b"gatehouse-request-id") or _text(headers, b"x-request-id")
    safe = len(given) <= 64 and all(c.isascii() and (c.isalnum() or c in "-_.:") for c in given)
    return given if safe else ""


def _timeout_ms(headers: Mapping[bytes, bytes], deadline_ms: int) -> int:
    """Return the deadline; the caller may lower it."""
    given = headers.get(b"gatehouse-timeout-ms")
    if given is None:
        return deadline_ms
    if not given.isdigit() or not 1 <= int(given) <= 3_600_000:
        raise Refusal(400, "Gatehouse-Timeout-Ms must be a whole number of milliseconds above 0.")
    return min(int(given), deadline_ms)
