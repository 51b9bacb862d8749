"""What the ledger keeps of a write through MLflow's handlers, in the write's own transaction.

Metrics and parameters come by the thousand: their first write of a run is an event, and the run's
end is one that counts them and commits to their values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.audit import services as audit
from controlplane.audit.services import ObjectRef
from experiments.mlflow_api.guard import Request
from experiments.queries import ENDED

_HAS_NUMBERS = (
    "SELECT EXISTS (SELECT 1 FROM mlflow.params WHERE run_uuid = %(run)s) "
    "OR EXISTS (SELECT 1 FROM mlflow.latest_metrics WHERE run_uuid = %(run)s)"
)
_NUMBERS = (
    "SELECT 'param' AS kind, key, value, 0 AS step FROM mlflow.params WHERE run_uuid = %(run)s "
    "UNION ALL SELECT 'metric', key, CASE WHEN is_nan THEN 'NaN' ELSE value::text END, step "
    "FROM mlflow.latest_metrics WHERE run_uuid = %(run)s ORDER BY 1, 2"
)
_VALUES = "SELECT count(*) FROM mlflow.metrics WHERE run_uuid = %(run)s"
# Where the answer names what was made.
_MADE: Mapping[str, Callable[[Any], Any]] = {
    "experiment.create": lambda body: body["experiment_id"],
    "run.create": lambda body: body["run"]["info"]["run_id"],
    "logged_model.create": lambda body: body["model"]["info"]["model_id"],
    "evaluation_dataset.create": lambda body: body["dataset"]["dataset_id"],
}
# Fields of the requests that say what changed; everything else is data, and stays out.
_TELLING = ("name", "run_name", "new_name", "key", "status", "experiment_id", "model_type")


@dataclass(frozen=True, slots=True)
class Before:
    """What was there before the handler ran, as far as the event needs it."""

    has_numbers: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def before(request: Request, connection: Any) -> Before:
    """Look before the handler writes; costs nothing where the event does not need it."""
    if not request.rule.once_per_run:
        return Before()
    row = connection.exec_driver_sql(_HAS_NUMBERS, {"run": _run(request)}).one()
    return Before(has_numbers=bool(row[0]))


def append(request: Request, was: Before, response: Any, connection: Any) -> None:
    """Append the event of a successful write on the connection of the write."""
    if request.rule.once_per_run and was.has_numbers:
        return
    action, obj, after = request.rule.action, request.subject(), _told(request)
    digests: dict[str, str] = {}
    if action in _MADE:
        made = str(_MADE[action](json.loads(response.get_data())))
        obj = ObjectRef(request.rule.subject, made, after.get("name") or made, obj.workspace_id)
    elif request.rule.subject == "run":
        run_id = _run(request)
        obj = ObjectRef("run", run_id, run_id, obj.workspace_id)
    if action == "run.update" and after.get("status") in ENDED:
        action = "run.finish"
        counts, digests = _numbers(obj.id, connection)
        after = {**after, **counts}
    event = audit.compose(action, actor=request.actor, obj=obj, after=after, digests=digests)
    connection.exec_driver_sql(audit.APPEND, (event.payload, event.personal))


def _run(request: Request) -> str:
    message = request.message
    return str(getattr(message, "run_id", "") or getattr(message, "run_uuid", ""))


def _told(request: Request) -> dict[str, Any]:
    if request.message is None:
        return {}
    told = {}
    for descriptor, value in request.message.ListFields():
        if descriptor.name not in _TELLING:
            continue
        if descriptor.enum_type is not None:
            value = descriptor.enum_type.values_by_number[value].name
        told[descriptor.name] = value
    return told


def _numbers(run_id: str, connection: Any) -> tuple[dict[str, int], dict[str, str]]:
    rows = [list(row) for row in connection.exec_driver_sql(_NUMBERS, {"run": run_id})]
    values = connection.exec_driver_sql(_VALUES, {"run": run_id}).scalar_one()
    encoded = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
    params = sum(row[0] == "param" for row in rows)
    counts = {"params": params, "metrics": len(rows) - params, "metric_values": int(values)}
    return counts, {"numbers": hashlib.sha256(encoded).hexdigest()}
