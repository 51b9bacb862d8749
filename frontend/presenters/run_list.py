"""The list of runs, with the metrics that most of them share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import QueryDict
from django.urls import reverse

from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from experiments import queries
from experiments.queries import Run
from experiments.services import runs
from frontend import words
from frontend.presenters.listing import PAGE_SIZE, Page, one_of, whole
from frontend.presenters.model import MetricValue
from frontend.presenters.run import metric_words, took

COLUMNS = 3
STATES = ("running", "finished", "failed", "killed", "scheduled")


@dataclass(frozen=True)
class Filters:
    q: str
    experiment: str
    state: str

    @property
    def is_narrowed(self) -> bool:
        return bool(self.q or self.experiment or self.state)

    @property
    def words(self) -> str:
        return ", ".join(filter(None, (self.q, self.state)))


@dataclass(frozen=True)
class Experiment:
    id: str
    name: str


@dataclass(frozen=True)
class Listed:
    name: str
    short_id: str
    url: str
    experiment: str
    state: str
    metrics: list[MetricValue]
    who: str
    started_at: datetime | None
    took: timedelta | None


def listed(query: QueryDict, *, actor: Actor, workspace: Workspace) -> dict[str, Any]:
    """Return a page of runs: as many as fit are read, and the filter looks at those."""
    filters = Filters(
        q=query.get("q", "").strip()[:100],
        experiment=str(whole(query.get("experiment", ""), most=2**31 - 1) or ""),
        state=one_of(query.get("state", "").lower(), STATES),
    )
    before = _position(query.get("page", ""))
    found = runs.page(
        actor=actor,
        workspace=workspace,
        experiment_id=int(filters.experiment) if filters.experiment else None,
        before=before,
        limit=PAGE_SIZE + 1,
    )
    shown = [run for run in found[:PAGE_SIZE] if _matches(run, filters)]
    names = _shared_metrics(shown)
    experiments = queries.experiments(workspace=workspace.key)
    older = _cursor(found[PAGE_SIZE - 1]) if len(found) > PAGE_SIZE else ""
    return {
        "summary": f"{words.plural(len(experiments), 'experiment')} in this workspace",
        "filters": filters,
        "experiments": [Experiment(str(number), name) for number, name in experiments],
        "states": STATES,
        "metric_names": names,
        "rows": [_row(run, names, workspace.key) for run in shown],
        "page": Page(words.plural(len(shown), "run"), older=older, is_later=before is not None),
    }


def _matches(run: Run, filters: Filters) -> bool:
    text = filters.q.lower()
    return (not text or text in run.name.lower() or run.id.startswith(text)) and (
        not filters.state or run.status.lower() == filters.state
    )


def _shared_metrics(shown: list[Run]) -> list[str]:
    """Return the metrics that most of the runs have, in a stable order."""
    counted = Counter(metric.key for run in shown for metric in run.metrics)
    common = sorted(counted, key=lambda key: (-counted[key], key))[:COLUMNS]
    return sorted(common)


def _row(run: Run, names: list[str], workspace_key: str) -> Listed:
    return Listed(
        name=run.name or run.id[:8],
        short_id=run.id[:8],
        url=reverse("pages:run", args=[workspace_key, run.id]),
        experiment=run.experiment,
        state=run.status.lower(),
        metrics=[MetricValue(name, metric_words(run.metrics, name)) for name in names],
        who=run.user or "a client",
        started_at=run.started_at,
        took=took(run),
    )


def _cursor(run: Run) -> str:
    milliseconds = int(run.started_at.timestamp() * 1000) if run.started_at else 0
    return f"{milliseconds}-{run.id}"


def _position(cursor: str) -> tuple[int, str] | None:
    milliseconds, _, run_id = cursor.partition("-")
    if not milliseconds.isdecimal() or not run_id.isalnum():
        return None
    return whole(milliseconds[:15], most=2**53), run_id[:32]
