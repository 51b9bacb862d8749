"""A run's page and a job's page: state, stages, metrics, log, files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.urls import reverse
from django.utils.safestring import SafeString

from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.jobs import folders, services, states
from controlplane.jobs.models import Job
from controlplane.workflow import services as workflow
from experiments import queries
from experiments.queries import ENDED, Metric, Run
from frontend import words
from frontend.forms.promotions import ReasonForm
from frontend.presenters import run_charts
from frontend.presenters.acts import Act
from frontend.presenters.jobs import local_day
from frontend.presenters.model import Fact
from registry.models import ArtifactBlob, ModelVersion

FIRST_BYTES = 64 * 1024
CHARTS = 6
FILES = 200
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_BAD = re.compile(r"^(Traceback|\w*Error\b|\w*Exception\b)|\b(ERROR|CRITICAL|error:)\b")
_WARN = re.compile(r"\b(WARNING|Warning|warning)\b")


@dataclass(frozen=True)
class LogLine:
    text: str
    tone: str


@dataclass(frozen=True)
class Log:
    lines: list[LogLine]
    next: int
    url: str
    raw_url: str


@dataclass(frozen=True)
class Stage:
    name: str
    words: str
    tone: str
    icon: str


@dataclass(frozen=True)
class MetricPanel:
    name: str
    words: str
    chart: SafeString
    figure: dict[str, Any] | None


@dataclass
class RunPage:
    """A run, the job that produced it, or both; one of the two is always there."""

    actor: Actor
    workspace_key: str
    job: Job | None = None
    record: Run | None = None
    versions: list[ModelVersion] = field(default_factory=list)

    @property
    def name(self) -> str:
        if self.record is not None:
            return self.record.name or f"Run {self.record.id[:8]}"
        return self.job.name if self.job else ""

    @property
    def state(self) -> str:
        if self.job is not None:
            return str(self.job.state)
        return self.record.status.lower() if self.record else ""

    @property
    def is_active(self) -> bool:
        """Whether somebody may still add to it: only a job's end is known for certain."""
        return self.job is not None and not self.job.is_final

    @property
    def about(self) -> str:
        if self.record is not None:
            return f"experiment {self.record.experiment}"
        return f"{self.job.kind} job on the queue {self.job.queue}" if self.job else ""

    @property
    def board_url(self) -> str:
        return self._url("job_board", self.job.pk) if self.job else ""

    @property
    def url(self) -> str:
        if self.record is not None:
            return self._url("run", self.record.id)
        return self._url("job", self.job.pk) if self.job else ""

    # ── Stages ───────────────────────────────────────────────────────────────────────────

    @property
    def stages(self) -> list[Stage]:
        """Waiting, starting, running, ended, registered: where the job stands."""
        job = self.job
        if job is None:
            return []
        began = job.started_at
        queued = job.state in {states.QUEUED, states.LOST}
        ended = job.is_final
        waited = (began or job.finished_at or clock.now()) - job.created_at
        ran = ((job.finished_at or clock.now()) - began) if began else None
        rows = [
            _stage("Waiting", words.duration(waited), passed=not queued, now=queued),
            _stage(
                "Environment",
                f"attempt {max(1, job.attempt)} of {job.max_attempts}",
                passed=began is not None,
                now=job.state == states.DISPATCHED,
            ),
            _stage(
                "Running" if not ended else "Ran",
                words.duration(ran) if ran else "not yet",
                passed=job.state == states.SUCCEEDED,
                now=job.state == states.RUNNING,
                failed=ended and job.state != states.SUCCEEDED,
            ),
        ]
        if self.versions:
            said = ", ".join(words.version_words(version) for version in self.versions)
            rows.append(Stage("Registered", f"{self.versions[0].model.name} {said}", "ok", "ok"))
        elif job.kind == "training":
            said = "no version" if ended else "when it registers a model"
            rows.append(Stage("Registered", said, "next", "wait"))
        return rows

    # ── Metrics and parameters ───────────────────────────────────────────────────────────

    @cached_property
    def metrics(self) -> list[MetricPanel]:
        """Each metric with its newest value; a chart where it was logged more than once."""
        if self.record is None:
            return []
        newest = self.record.metrics[:CHARTS]
        has_steps = any(item.step for item in newest)
        panels = []
        for item in newest:
            history = queries.metric_history(self.record.id, item.key) if has_steps else []
            points = run_charts.points_of(history)
            panels.append(
                MetricPanel(
                    name=item.key,
                    words=_value(item),
                    chart=run_charts.picture(item.key, points),
                    # What renews itself every second stays a picture.
                    figure=run_charts.figure(item.key, points)
                    if points and not self.is_active
                    else None,
                )
            )
        return panels

    @property
    def parameters(self) -> list[tuple[str, str]]:
        return sorted(self.record.params.items()) if self.record else []

    @cached_property
    def details(self) -> list[Fact]:
        facts = [
            Fact(
                version.model.name,
                words.version_words(version),
                self._url("version", version.model.name, version.number),
            )
            for version in self.versions
        ]
        job, run = self.job, self.record
        if job is not None:
            facts += [
                Fact("Started by", f"{job.owner}, {local_day(job.created_at)}"),
                Fact("Kind", f"{job.kind}, queue {job.queue}"),
                Fact("Where", job.worker or "not claimed yet"),
                Fact("Attempt", f"{max(1, job.attempt)} of {job.max_attempts}"),
                *self._spec_facts(job),
            ]
            if job.exit_code is not None:
                facts.append(Fact("Exit code", str(job.exit_code)))
        elif run is not None:
            facts.append(Fact("Logged by", run.user or "a client"))
            if run.started_at:
                facts.append(Fact("Started", local_day(run.started_at)))
            if run.started_at and run.ended_at:
                facts.append(Fact("Took", words.duration(run.ended_at - run.started_at)))
        if run is not None:
            facts += [Fact("Run ID", run.id)]
            commit = run.tags.get("mlflow.source.git.commit", "")
            if commit:
                facts.append(Fact("Code", commit[:12]))
        return facts

    def _spec_facts(self, job: Job) -> list[Fact]:
        spec = job.spec
        facts = []
        for item in spec.get("inputs", []):
            name, number = str(item["dataset"]), int(item["version"])
            facts.append(
                Fact("Data", f"{name}@{number}", self._url("dataset_version", name, number))
            )
        source = spec.get("source") or {}
        if source.get("sha256"):
            facts.append(Fact("Source", f"tar {str(source['sha256'])[:12]}"))
        if spec.get("command"):
            facts.append(Fact("Command", " ".join(str(word) for word in spec["command"])[:200]))
        return facts

    @cached_property
    def artifacts(self) -> list[ArtifactBlob]:
        if self.record is None:
            return []
        rows = ArtifactBlob.objects.filter(
            owner_type=ArtifactBlob.OwnerType.RUN, owner_id=self.record.id
        )
        return list(rows.order_by("path")[:FILES])

    @property
    def error(self) -> str:
        return self.job.error if self.job and self.job.is_final else ""

    # ── Log and stop ─────────────────────────────────────────────────────────────────────

    @cached_property
    def log(self) -> Log | None:
        """The end of the newest attempt's log; older lines are in the raw file."""
        if self.job is None or not self.job.attempt:
            return None
        path = folders.of(self.job.pk, self.job.attempt).log
        size = path.stat().st_size if path.exists() else 0
        start = max(0, size - FIRST_BYTES)
        part = read_lines(self.job, start)
        return Log(
            # The first line of a tail is the rest of one that began before it.
            lines=part.lines[1:] if start else part.lines,
            next=part.next,
            url=self._url("job_log", self.job.pk),
            raw_url=self._url("job_log_raw", self.job.pk),
        )

    @cached_property
    def stop(self) -> Act | None:
        """The act of stopping, if the reader may."""
        if self.job is None:
            return None
        steps = workflow.available_steps(states.JOB, self.job, self.actor)
        step = next((item for item in steps if item.name == "cancel" and item.permitted), None)
        if step is None:
            return None
        return Act(
            name="stop",
            label="Stop…",
            url=self._url("job_stop", self.job.pk),
            question=f"Stop {self.job.name}?",
            confirm=f"Stop {self.job.name}",
            cancel="Let it run",
            effect="Its process ends within seconds and its token at once. What it logged stays.",
            back=self.url,
            form=ReasonForm(auto_id="stop_%s"),
            is_dangerous=True,
            icon="stop",
        )

    def _url(self, name: str, *args: object) -> str:
        return reverse(f"pages:{name}", args=[self.workspace_key, *args])


@dataclass(frozen=True)
class LogPart:
    lines: list[LogLine]
    next: int
    is_complete: bool


def read_lines(job: Job, start: int) -> LogPart:
    """Return the whole lines of a job's log from a byte on; the next asking begins at `next`.

    While the job writes, a line that has not ended yet is left for the next time.
    """
    part = services.read_log(job, start)
    content = part.content
    if not part.is_complete:
        content = content[: content.rfind(b"\n") + 1]
    end = start + len(content)
    return LogPart(lines(content), end, part.is_complete and end == part.next)


def lines(content: bytes) -> list[LogLine]:
    """Return log bytes as lines without terminal codes, with the tone of what they say.

    A progress bar returns to the start of its line again and again: its last state counts.
    """
    text = content.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n")
    if not text:
        return []
    return [_line(raw.rstrip("\r").rpartition("\r")[2]) for raw in text.split("\n")]


def took(run: Run) -> timedelta | None:
    if run.started_at is None:
        return None
    if run.ended_at is None:
        return None if run.status in ENDED else clock.now() - run.started_at
    return run.ended_at - run.started_at


def metric_words(metrics: Iterable[Metric], key: str) -> str:
    return next((_value(item) for item in metrics if item.key == key), "no data")


def _line(raw: str) -> LogLine:
    text = _CONTROL.sub("", raw)
    tone = "e" if _BAD.search(text) else "w" if _WARN.search(text) else ""
    return LogLine(text, tone)


def _stage(name: str, said: str, *, passed: bool, now: bool, failed: bool = False) -> Stage:
    if failed:
        return Stage(name, said, "bad", "bad")
    if passed:
        return Stage(name, said, "ok", "ok")
    return Stage(name, said, "now", "run") if now else Stage(name, said, "next", "wait")


def _value(item: Metric) -> str:
    return "not a number" if item.value is None else f"{item.value:.4g}".replace("-", "−")
