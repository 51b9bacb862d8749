"""Runs, jobs and their logs, from the queue to the last line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from plotly import graph_objects
from plotly.offline import get_plotlyjs_version

from controlplane.core.clock import now
from controlplane.jobs import folders, kinds, services, spec
from controlplane.jobs.models import Job, Worker
from experiments.queries import Metric
from experiments.services import runs
from frontend.presenters import run_charts
from frontend.presenters.run import lines
from tests.frontend.page_tools import HTMX, SignIn, at, text_of
from tests.rooms import Room

ROOM = Path(__file__).resolve().parents[2]
PLOTLY = ROOM / "frontend" / "static" / "vendor" / "plotly-basic.min.js"
pytestmark = pytest.mark.django_db(databases=["default", "ledger"])


@pytest.fixture(autouse=True)
def job_folders(settings: Any, tmp_path: Path) -> Iterator[None]:
    settings.JOB_DIR = tmp_path
    kinds.register(kinds.Kind("page-test", prepare=lambda job, spec: kinds.Preparation()))
    yield
    kinds._kinds.pop("page-test")


def queued(room: Room, *, run_id: str = "", name: str = "train digits") -> Job:
    body = spec.parse({"command": ["python", "train.py"]})
    return services.submit(
        actor=room.engineer,
        workspace=room.workspace,
        kind="page-test",
        queue="cpu",
        spec=body,
        name=name,
        run_id=run_id,
    )


def becomes(job: Job, state: str, **fields: Any) -> Job:
    """The job is in that state, as a worker would have left it."""
    started = now() - timedelta(seconds=75)
    Job.objects.filter(pk=job.pk).update(
        state=state, attempt=1, worker="worker-compute", started_at=started, **fields
    )
    job.refresh_from_db()
    folders.of(job.pk, 1).make()
    return job


def writes(job: Job, text: bytes) -> None:
    with folders.of(job.pk, 1).log.open("ab") as stream:
        stream.write(text)


def test_the_board_says_why_a_job_waits(room: Room, browser: SignIn) -> None:
    queued(room)
    client = browser(room.engineer)
    assert "no worker takes the queue cpu now" in text_of(client.get(at(room, "queue/")))

    Worker.objects.create(
        name="worker-compute", queues=["cpu"], slots=1, memory_mb=8000, sandbox="user",
        started_at=now(), seen_at=now(),
    )  # fmt: skip
    assert "about to start" in text_of(client.get(at(room, "queue/")))

    becomes(queued(room, name="the other"), "running")
    board = text_of(client.get(at(room, "queue/"), headers=HTMX))
    assert "the only place is taken" in board
    assert "for 1 min 15 s" in board
    assert "<html" not in board


def test_a_running_job_shows_its_log_and_goes_on_from_the_last_whole_line(
    room: Room,
    browser: SignIn,
) -> None:
    job = becomes(queued(room), "running")
    writes(job, b"epoch 1\nepoch 2\nepo")
    client = browser(room.engineer)
    page = client.get(at(room, f"jobs/{job.pk}/")).content.decode()
    assert "epoch 2" in page
    assert ">epo<" not in page
    place = re.search(r'data-next="(\d+)"', page)
    assert place
    assert int(place[1]) == len(b"epoch 1\nepoch 2\n")

    log = at(room, f"jobs/{job.pk}/log/?from={place[1]}")
    assert client.get(log).status_code == 204
    writes(job, b"ch 3\n")
    part = client.get(log)
    assert (part.status_code, text_of(part)) == (200, '<div class="ln">epoch 3</div> ')
    assert part["Gatehouse-Next"] == str(len(b"epoch 1\nepoch 2\nepoch 3\n"))


def test_the_last_part_of_a_log_ends_the_asking(room: Room, browser: SignIn) -> None:
    job = becomes(queued(room), "failed", finished_at=now(), exit_code=1, error="Exit code 1.")
    writes(job, b"Traceback (most recent call last):\nValueError: no column")
    client = browser(room.engineer)
    part = client.get(at(room, f"jobs/{job.pk}/log/?from=0"))
    assert part.status_code == 286
    assert '<div class="ln e">ValueError: no column</div>' in text_of(part)
    page = text_of(client.get(at(room, f"jobs/{job.pk}/")))
    assert "Exit code 1." in page
    assert "data-poll" not in page
    assert "1 thing needs you" in text_of(client.get(at(room)))
    raw = client.get(at(room, f"jobs/{job.pk}/log.txt"))
    assert b"".join(raw.streaming_content).endswith(b"no column")  # type: ignore[attr-defined]


def test_the_moving_part_of_a_job_stops_with_the_job(room: Room, browser: SignIn) -> None:
    job = becomes(queued(room), "running")
    client = browser(room.engineer)
    board = at(room, f"jobs/{job.pk}/board/")
    assert client.get(board, headers=HTMX).status_code == 200
    becomes(job, "succeeded", finished_at=now(), exit_code=0)
    assert client.get(board, headers=HTMX).status_code == 286


def test_whoever_started_a_job_may_stop_it_and_others_may_not(
    room: Room,
    browser: SignIn,
) -> None:
    job = becomes(queued(room), "running")
    other = browser(room.approver)
    assert "Stop…" not in text_of(other.get(at(room, f"jobs/{job.pk}/")))
    mine = browser(room.engineer)
    assert "Stop…" in text_of(mine.get(at(room, f"jobs/{job.pk}/")))
    mine.post(at(room, f"jobs/{job.pk}/stop/"), {"reason": "Wrong data."})
    job.refresh_from_db()
    assert (job.state, job.error) == ("cancelled", "Stopped: Wrong data.")


def test_a_run_is_listed_with_its_metrics_and_shows_them_over_steps(
    room: Room,
    browser: SignIn,
) -> None:
    run_id = runs.create(
        workspace=room.workspace, experiment_name="digits", run_name="forest", actor=room.engineer
    )
    with connection.cursor() as cursor:
        for step, value in enumerate((0.91, 0.95, 0.972)):
            cursor.execute(
                "INSERT INTO mlflow.metrics (key, value, timestamp, run_uuid, step, is_nan) "
                "VALUES ('accuracy', %s, 1, %s, %s, false)",
                [value, run_id, step],
            )
        cursor.execute(
            "INSERT INTO mlflow.latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
            "VALUES ('accuracy', 0.972, 1, 2, false, %s)",
            [run_id],
        )
        cursor.execute(
            "INSERT INTO mlflow.params (key, value, run_uuid) VALUES ('n_estimators', '80', %s)",
            [run_id],
        )
    job = queued(room, run_id=run_id)
    client = browser(room.approver)
    listed = text_of(client.get(at(room, "runs/")))
    assert "forest" in listed
    assert "0.972" in listed
    assert "No run matches" in text_of(client.get(at(room, "runs/?q=zzz")))
    page = text_of(client.get(at(room, f"runs/{run_id}/")))
    assert "accuracy from step 0 to 2, now 0.972" in page
    assert "<code>n_estimators</code>" in page
    answer = client.get(at(room, f"jobs/{job.pk}/"))
    assert answer["Location"] == at(room, f"runs/{run_id}/")


def test_runs_and_jobs_of_another_workspace_do_not_exist(
    room: Room,
    browser: SignIn,
) -> None:
    elsewhere = Room()
    run_id = runs.create(
        workspace=elsewhere.workspace, experiment_name="x", run_name="y", actor=elsewhere.engineer
    )
    job = queued(elsewhere)
    client = browser(room.approver)
    assert client.get(at(room, f"runs/{run_id}/")).status_code == 404
    for page in ("", "board/", "log/", "log.txt", "stop/"):
        assert client.get(at(room, f"jobs/{job.pk}/{page}")).status_code == 404, page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", []),
        (b"a\n\nb\n", [("a", ""), ("", ""), ("b", "")]),
        (b"\x1b[31mred\x1b[0m\n", [("red", "")]),
        (b"10%\r55%\r100%\r\nok\n", [("100%", ""), ("ok", "")]),
        (b"2026 WARNING slow\n", [("2026 WARNING slow", "w")]),
        (b"ValueError: x\n", [("ValueError: x", "e")]),
        (b"\xff\n", [("�", "")]),
    ],
)
def test_log_lines_are_told_without_terminal_codes(
    content: bytes, said: list[tuple[str, str]]
) -> None:
    assert [(line.text, line.tone) for line in lines(content)] == said


def test_a_chart_is_data_that_plotly_accepts() -> None:
    history = [Metric("loss", 1 / (step + 1), step, now()) for step in range(3)]
    figure = run_charts.figure("loss", run_charts.points_of(history))
    assert list(graph_objects.Figure(figure).data[0].y) == [1.0, 0.5, 1 / 3]


def test_the_charts_that_pages_draw_are_those_of_the_library_that_tests_check() -> None:
    drawn = re.search(r"plotly.js[^v]*v(\d+\.\d+\.\d+)", PLOTLY.read_text()[:400])
    assert drawn
    assert drawn[1] == get_plotlyjs_version()


def test_a_long_history_is_thinned_and_keeps_its_peaks() -> None:
    points = [(float(step), 0.0) for step in range(50_000)]
    points[31_337] = (31_337.0, 9.0)
    points[40_001] = (40_001.0, -9.0)
    thin = run_charts.thinned(points)
    assert len(thin) <= run_charts.MOST_POINTS
    assert {points[31_337], points[40_001]} <= set(thin)
    assert thin == sorted(thin)


def test_one_value_is_a_number_and_no_chart() -> None:
    assert run_charts.points_of([Metric("accuracy", 0.9, 0, now())]) == []
    assert run_charts.picture("accuracy", []) == ""
