"""Which of MLflow's handlers are served, and what must be true before one runs.

The table is fail-closed: ``mount`` routes a handler only if it stands here. A rule says which verb
it takes on the workspace, whether it writes, under which action the ledger keeps it, and what a
sealed version forbids. Every identifier in a request, wherever it stands, must belong to the
request's workspace; what belongs to another one is answered like what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.audit.services import ObjectRef
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid, NotFound
from experiments import queries
from experiments.services import sealing
from experiments.services.sealing import RESERVED_TAG_PREFIX

# The names under which MLflow's messages, paths and queries carry identifiers.
KINDS = {
    "experiment_id": "experiment",
    "experiment_ids": "experiment",
    "run_id": "run",
    "run_ids": "run",
    "run_uuid": "run",
    "source_run_id": "run",
    "model_id": "logged_model",
    "trace_id": "trace",
    "trace_ids": "trace",
    "request_id": "trace",
    "request_ids": "trace",
    "dataset_id": "evaluation_dataset",
}
# What a client that was told no experiment says; the store makes it the workspace's default.
DEFAULT_EXPERIMENT = "0"
_NOT_FOUND = {
    "experiment": "No Experiment with id={} exists",
    "run": "Run with id={} not found",
    "logged_model": "Logged model with ID '{}' not found.",
    "trace": "Trace with ID '{}' not found.",
    "evaluation_dataset": "Evaluation dataset '{}' not found.",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What one handler needs.

    ``message`` is the protobuf class that the handler parses the request with; the guard parses
    with the same, because any reading of its own could differ from MLflow's. ``subject`` is the
    kind of object that the event names. Kinds in ``may_be_new`` may name something that does not
    exist yet, kinds in ``filtered`` are lists that the store narrows to the workspace in SQL.
    """

    verb: str
    message: str = ""
    subject: str = "workspace"
    action: str = ""
    seal: str = ""
    may_be_new: frozenset[str] = frozenset()
    filtered: frozenset[str] = frozenset()
    once_per_run: bool = False
    creator_or: str = ""

    @property
    def writes(self) -> bool:
        return bool(self.action)


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a mounted handler, read as the handler will read it."""

    rule: Rule
    actor: Actor
    workspace: Workspace
    message: Any
    ids: Mapping[str, frozenset[str]]

    def one(self, kind: str) -> str:
        """Return the only identifier of this kind, or an empty string."""
        found = self.ids.get(kind, frozenset())
        return next(iter(found)) if len(found) == 1 else ""

    def subject(self) -> ObjectRef:
        if self.rule.subject == "workspace":
            return ObjectRef(
                "workspace", str(self.workspace.pk), self.workspace.key, self.workspace.pk
            )
        name = self.one(self.rule.subject)
        return ObjectRef(self.rule.subject, name, name, self.workspace.pk)


def _read(message: str = "", **more: Any) -> Rule:
    return Rule("view", message, **more)


def _write(message: str, subject: str, action: str, **more: Any) -> Rule:
    return Rule("contribute", message, subject, action, **more)


_experiments = frozenset({"experiment"})
_traces = frozenset({"trace"})

TABLE: Mapping[str, Rule] = {
    # Experiments.
    "_get_experiment": _read("GetExperiment"),
    "_get_experiment_by_name": _read("GetExperimentByName"),
    "_search_experiments": _read("SearchExperiments"),
    "_search_datasets_handler": _read("SearchDatasets", filtered=_experiments),
    "_create_experiment": _write("CreateExperiment", "experiment", "experiment.create"),
    "_update_experiment": _write("UpdateExperiment", "experiment", "experiment.update"),
    "_set_experiment_tag": _write("SetExperimentTag", "experiment", "experiment.tag"),
    "_delete_experiment_tag": _write("DeleteExperimentTag", "experiment", "experiment.untag"),
    "_delete_experiment": _write(
        "DeleteExperiment",
        "experiment",
        "experiment.delete",
        seal="experiment",
        creator_or="configure",
    ),
    "_restore_experiment": _write(
        "RestoreExperiment", "experiment", "experiment.restore", creator_or="configure"
    ),
    # Runs.
    "_get_run": _read("GetRun"),
    "_search_runs": _read("SearchRuns", filtered=_experiments),
    "_get_metric_history": _read("GetMetricHistory"),
    "get_metric_history_bulk_handler": _read(),
    "get_metric_history_bulk_interval_handler": _read("GetMetricHistoryBulkInterval"),
    "_create_run": _write("CreateRun", "run", "run.create"),
    "_update_run": _write("UpdateRun", "run", "run.update", seal="run_status"),
    "_delete_run": _write("DeleteRun", "run", "run.delete", seal="run"),
    "_restore_run": _write("RestoreRun", "run", "run.restore"),
    "_log_metric": _write("LogMetric", "run", "run.log", seal="numbers", once_per_run=True),
    "_log_param": _write("LogParam", "run", "run.log", seal="numbers", once_per_run=True),
    "_log_batch": _write("LogBatch", "run", "run.log", seal="numbers", once_per_run=True),
    "_log_model": _write("LogModel", "run", "run.log", seal="numbers"),
    "_log_inputs": _write("LogInputs", "run", "run.log", seal="numbers"),
    "_log_outputs": _write("LogOutputs", "run", "run.log", seal="numbers"),
    "_set_tag": _write("SetTag", "run", "run.tag"),
    "_delete_tag": _write("DeleteTag", "run", "run.untag"),
    # Logged models.
    "_get_logged_model": _read(),
    "_search_logged_models": _read("SearchLoggedModels", filtered=_experiments),
    "_create_logged_model": _write("CreateLoggedModel", "logged_model", "logged_model.create"),
    "_finalize_logged_model": _write(
        "FinalizeLoggedModel", "logged_model", "logged_model.finish", seal="logged_model"
    ),
    "_delete_logged_model": _write("", "logged_model", "logged_model.delete", seal="logged_model"),
    "_log_logged_model_params": _write(
        "LogLoggedModelParamsRequest", "logged_model", "logged_model.log", seal="logged_model"
    ),
    "_set_logged_model_tags": _write("SetLoggedModelTags", "logged_model", "logged_model.tag"),
    "_delete_logged_model_tag": _write("", "logged_model", "logged_model.untag"),
    # Traces.
    "_get_trace": _read("GetTrace"),
    "_get_trace_info_v3": _read(),
    "_deprecated_get_trace_info_v2": _read(),
    "_batch_get_traces": _read("BatchGetTraces", filtered=_experiments | _traces),
    "_batch_get_trace_infos": _read("BatchGetTraceInfos", filtered=_experiments | _traces),
    "_search_traces_v3": _read("SearchTracesV3", filtered=_experiments),
    "_deprecated_search_traces_v2": _read("SearchTraces", filtered=_experiments),
    "_query_trace_metrics": _read("QueryTraceMetrics", filtered=_experiments),
    "_calculate_trace_filter_correlation": _read(
        "CalculateTraceFilterCorrelation", filtered=_experiments
    ),
    "_get_assessment": _read(),
    "_start_trace_v3": _write("StartTraceV3", "trace", "trace.create", may_be_new=_traces),
    "_deprecated_start_trace_v2": _write("StartTrace", "workspace", "trace.create"),
    "_deprecated_end_trace_v2": _write("EndTrace", "trace", "trace.update"),
    "_set_trace_tag": _write("SetTraceTag", "trace", "trace.tag"),
    "_set_trace_tag_v3": _write("SetTraceTagV3", "trace", "trace.tag"),
    "_delete_trace_tag": _write("DeleteTraceTag", "trace", "trace.untag"),
    "_delete_trace_tag_v3": _write("DeleteTraceTagV3", "trace", "trace.untag"),
    "_delete_traces": _write("DeleteTraces", "experiment", "trace.delete", filtered=_traces),
    "_link_traces_to_run": _write("LinkTracesToRun", "run", "trace.link"),
    "_link_prompts_to_trace": _write("LinkPromptsToTrace", "trace", "trace.link"),
    "_create_assessment": _write("CreateAssessment", "trace", "trace.assess"),
    "_update_assessment": _write("UpdateAssessment", "trace", "trace.assess"),
    "_delete_assessment": _write("", "trace", "trace.assess"),
    # Evaluation datasets.
    "_get_dataset_handler": _read(),
    "_search_evaluation_datasets_handler": _read("SearchEvaluationDatasets", filtered=_experiments),
    "_get_dataset_experiment_ids_handler": _read(),
    "_get_dataset_records_handler": _read("GetDatasetRecords"),
    "_create_dataset_handler": _write(
        "CreateDataset", "evaluation_dataset", "evaluation_dataset.create"
    ),
    "_delete_dataset_handler": _write("", "evaluation_dataset", "evaluation_dataset.delete"),
    "_set_dataset_tags_handler": _write(
        "SetDatasetTags", "evaluation_dataset", "evaluation_dataset.update"
    ),
    "_delete_dataset_tag_handler": _write("", "evaluation_dataset", "evaluation_dataset.update"),
    "_upsert_dataset_records_handler": _write(
        "UpsertDatasetRecords", "evaluation_dataset", "evaluation_dataset.update"
    ),
    "_delete_dataset_records_handler": _write(
        "DeleteDatasetRecords", "evaluation_dataset", "evaluation_dataset.update"
    ),
    "_add_dataset_to_experiments_handler": _write(
        "AddDatasetToExperiments", "evaluation_dataset", "evaluation_dataset.update"
    ),
    "_remove_dataset_from_experiments_handler": _write(
        "RemoveDatasetFromExperiments", "evaluation_dataset", "evaluation_dataset.update"
    ),
}


def check(request: Request) -> None:
    """Return when the handler may run.

    Raises:
        NotFound: the actor may not view the workspace, or something named is not in it.
        NotPermitted: the verb is missing, or a sealed version stands against it.
        Invalid: a tag is named that only the portal writes.
    """
    access.require(request.actor, request.rule.verb, request.workspace)
    _require_in_workspace(request)
    _refuse_reserved_tags(request)
    if request.rule.creator_or and not sealing.made_experiment(
        request.one("experiment"), request.actor
    ):
        access.require(request.actor, request.rule.creator_or, request.workspace)
    if request.rule.seal:
        sealing.check(
            request.rule.seal,
            actor=request.actor,
            workspace=request.workspace,
            run_id=_own_run(request),
            logged_model_id=request.one("logged_model"),
            experiment_id=request.one("experiment"),
            message=request.message,
        )


def identifiers(message: Any, arguments: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Return every identifier in a message, a path and a query, by kind."""
    found: dict[str, set[str]] = {}
    if message is not None:
        _walk(message, found)
    for name, value in arguments:
        if name in KINDS and value:
            found.setdefault(KINDS[name], set()).add(value)
    return {kind: frozenset(values) for kind, values in found.items()}


def _walk(message: Any, found: dict[str, set[str]]) -> None:
    for field, value in message.ListFields():
        is_list = hasattr(value, "extend") or hasattr(value, "add")
        values = list(value) if is_list else [value]
        if field.name in KINDS and not field.message_type:
            found.setdefault(KINDS[field.name], set()).update(str(item) for item in values if item)
        elif field.message_type and not field.message_type.full_name.startswith("google."):
            for item in values:
                if hasattr(item, "ListFields"):
                    _walk(item, found)


def _require_in_workspace(request: Request) -> None:
    for kind, ids in request.ids.items():
        if kind in request.rule.filtered:
            continue
        asked = {item for item in ids if (kind, item) != ("experiment", DEFAULT_EXPERIMENT)}
        if kind == "experiment":
            # What is no number is refused by the handler, in MLflow's own words.
            asked = {item for item in asked if item.isdecimal()}
        known = queries.workspaces_of(kind, asked)
        for item in sorted(asked):
            is_new = item not in known and kind in request.rule.may_be_new
            if known.get(item) != request.workspace.key and not is_new:
                raise NotFound(_NOT_FOUND[kind].format(item))


def _refuse_reserved_tags(request: Request) -> None:
    if not request.rule.writes or request.message is None:
        return
    tags = getattr(request.message, "tags", ())
    keys = [tag.key for tag in tags if hasattr(tag, "key")] if not isinstance(tags, str) else []
    if request.rule.action.endswith((".tag", ".untag")):
        keys.append(str(getattr(request.message, "key", "")))
    for key in keys:
        if key.startswith(RESERVED_TAG_PREFIX):
            raise Invalid(
                f"The tag {key!r} cannot be set or deleted: tags that begin with "
                f"{RESERVED_TAG_PREFIX!r} are written by Gatehouse."
            )


def _own_run(request: Request) -> str:
    """Return the run that is written to; a metric may name others."""
    message = request.message
    named = getattr(message, "run_id", "") or getattr(message, "run_uuid", "")
    return str(named or request.one("run"))
