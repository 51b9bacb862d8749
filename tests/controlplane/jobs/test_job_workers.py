"""Jobs run by real Celery workers, which are killed, stopped and left without Redis."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from controlplane.accounts.models import ApiToken, Workspace
from controlplane.celery import app
from controlplane.core.actor import Actor
from controlplane.jobs import folders, recovery, services
from controlplane.jobs.models import Job, Worker
from controlplane.local.redis_server import EmbeddedRedis
from tests.controlplane.jobs import job_kinds
from tests.controlplane.jobs.job_tools import (
    FAST,
    ROOM,
    WorkerProcess,
    log_of,
    submit,
    until,
    until_over,
)

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, databases=["default", "ledger"]),
]
SCHEDULER = Actor.system("scheduler")
with socket.create_server(("127.0.0.1", 0)) as _found:
    DOOR_PORT = _found.getsockname()[1]


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def worker(django_db_setup: None, log_folder: Path) -> Iterator[WorkerProcess]:
    """The worker that most tests share."""
    process = WorkerProcess(
        log_folder / "shared.log",
        "shared",
        queues="cpu",
        GATEHOUSE_INTERNAL_URL=f"http://127.0.0.1:{DOOR_PORT}",
    ).wait_until_ready()
    yield process
    process.kill()


@pytest.fixture
def private(log_folder: Path, request: pytest.FixtureRequest) -> Iterator[list[WorkerProcess]]:
    """Workers of one test, which may kill them."""
    redis.Redis.from_url(settings.REDIS_URL).flushall()
    started: list[WorkerProcess] = []
    yield started
    for process in started:
        process.kill()


@pytest.fixture
def send_to() -> Iterator[Callable[[str], None]]:
    """Give hints to another broker than the product's."""

    def use(address: str) -> None:
        app.conf.update(broker_write_url=address)
        # Connections that are open already would be used again.
        vars(app.amqp)["_producer_pool"] = None

    yield use
    use(settings.CELERY_BROKER_URL)


def test_a_job_runs_and_its_result_is_recorded_once(
    worker: WorkerProcess, actor: Actor, workspace: Workspace, tmp_path: Path
) -> None:
    table = tmp_path / "train.csv"
    table.write_text("a,b\n1,2\n")
    table.chmod(0o440)
    job = submit(
        actor,
        workspace,
        "cat code/say.txt data/train.csv && echo $FROM_THE_KIND $OWN && echo done > out.txt",
        source=str(_tar(tmp_path, {"code/say.txt": b"from the source\n"})),
        files={"data/train.csv": str(table)},
        output="out.txt",
        environment={"OWN": "mine"},
    )
    until_over(job, log=worker.log)
    assert (job.state, job.exit_code, job.attempt, job.worker) == (
        *("succeeded", 0, 1),
        "shared@test",
    )
    assert "from the source\na,b\n1,2\nyes mine\n" in log_of(job)
    assert job_kinds.results(job) == ["done\n"]
    assert job_kinds.settlements(job) == ["succeeded"]
    until(lambda: not folders.of(job.pk, 1).work.exists())


def test_a_failure_keeps_the_exit_code_and_the_last_lines(
    worker: WorkerProcess, actor: Actor, workspace: Workspace
) -> None:
    job = submit(actor, workspace, "seq 100; echo cannot read the labels >&2; exit 3")
    until_over(job, log=worker.log)
    assert (job.state, job.exit_code) == ("failed", 3)
    assert job.error == "The command ended with exit code 3."
    assert job.last_lines.splitlines()[-2:] == ["100", "cannot read the labels"]
    assert len(job.last_lines.splitlines()) == 20


@pytest.mark.parametrize(
    ("script", "extra", "error"),
    [
        ("kill -SEGV $$", {}, "The command was ended by the signal SIGSEGV."),
        ("true", {"output": "out.txt"}, "The job left no output out.txt: no such file"),
        ("ln -s /etc/passwd out.txt", {"output": "out.txt"}, "The job left no output out.txt: too"),
        ("mkfifo out.txt", {"output": "out.txt"}, "The job's output out.txt is not a plain file."),
        ("true", {"refused": True}, "The dataset digits@7 is not there any longer."),
        ("true", {"source": "/dev/null"}, "The source cannot be unpacked"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    worker: WorkerProcess,
    actor: Actor,
    workspace: Workspace,
    script: str,
    extra: dict[str, Any],
    error: str,
) -> None:
    job = submit(actor, workspace, script, **extra)
    until_over(job, log=worker.log)
    assert job.state == "failed"
    assert job.error.startswith(error)
    assert job_kinds.results(job) == []


def test_a_job_that_takes_too_long_is_stopped(
    worker: WorkerProcess, actor: Actor, workspace: Workspace
) -> None:
    job = submit(actor, workspace, "sleep 100", resources={"timeout_seconds": 1})
    until_over(job, log=worker.log)
    assert (job.state, job.exit_code) == ("timed_out", None)
    assert "longer than 0:00:01" in job.error


def test_a_stopped_job_may_save_its_work_and_leaves_nothing_behind(
    worker: WorkerProcess, actor: Actor, workspace: Workspace
) -> None:
    marker = "7654.321"
    script = f"trap 'echo checkpoint saved; exit 0' TERM; echo begun; sleep {marker} & wait"
    job = submit(actor, workspace, script)
    until(lambda: "begun" in log_of(_fresh(job)), what=worker.log)

    services.cancel(job.pk, actor=actor, reason="enough")

    until(lambda: "checkpoint saved" in log_of(job), what=worker.log)
    until(lambda: not _is_running(marker))
    until(lambda: not folders.of(job.pk, 1).work.exists())
    assert _fresh(job).state == "cancelled"


def test_the_log_is_read_from_any_byte_while_it_grows(
    worker: WorkerProcess, actor: Actor, workspace: Workspace
) -> None:
    job = submit(actor, workspace, "echo one; sleep 1; echo two")
    until(lambda: "one" in log_of(_fresh(job)), what=worker.log)
    first = services.read_log(_fresh(job))
    assert not first.is_complete
    until_over(job, log=worker.log)
    second = services.read_log(job, first.next)
    assert (second.content, second.is_complete) == (b"two\n", True)


def test_a_job_reaches_the_door_with_its_own_token_and_nothing_else(
    worker: WorkerProcess, actor: Actor, workspace: Workspace
) -> None:
    seen: list[tuple[str, int]] = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.headers["Authorization"], len(body)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body[:3_000_000])

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", DOOR_PORT), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = (
        "import os, urllib.request as u; "
        "r = u.Request(os.environ['MLFLOW_TRACKING_URI'] + '/x', b'x' * 5_000_000, "
        "{'Authorization': 'Bearer ' + os.environ['MLFLOW_TRACKING_TOKEN']}); "
        "print('came back:', len(u.urlopen(r).read()))"
    )
    try:
        job = submit(actor, workspace, f'python -c "{code}"; env | grep -c DATABASE', door=True)
        until_over(job, log=worker.log)
    finally:
        server.shutdown()
        server.server_close()
    assert log_of(job).endswith("came back: 3000000\n0\n")
    (authorization, size), token = seen[0], ApiToken.objects.get(job_id=job.pk)
    assert size == 5_000_000
    assert authorization.startswith(f"Bearer {token.hint}")
    assert token.revoked_at is not None


@pytest.mark.parametrize(
    ("point", "starts", "attempts"), [("claimed", 1, 2), ("running", 2, 2), ("finished", 1, 2)]
)
def test_a_worker_killed_at_this_point_gives_one_result(
    private: list[WorkerProcess],
    log_folder: Path,
    actor: Actor,
    workspace: Workspace,
    point: str,
    starts: int,
    attempts: int,
) -> None:
    doomed = WorkerProcess(
        log_folder / f"{point}.log", f"doomed-{point}", GATEHOUSE_TEST_PAUSE_AT=point
    )
    private.append(doomed)
    marker = f"3.{point.encode().hex()[:6]}1" if point != "running" else "9876.54"
    seconds = "0" if point == "finished" else marker if point == "running" else "0"
    script = f"echo program started; [ $GATEHOUSE_ATTEMPT = 1 ] && sleep {seconds}; echo r > out"
    job = submit(actor, workspace, script, queue="evaluation", output="out")
    until(lambda: f"point={point}" in doomed.log.read_text(), what=doomed.log)
    if point == "running":
        until(lambda: _is_running(marker))

    doomed.kill()

    if point == "running":
        until(lambda: not _is_running(marker))
    assert _fresh(job).state == ("dispatched" if point == "claimed" else "running")
    until(lambda: recovery.take_back_expired(actor=SCHEDULER) == 1)
    second = WorkerProcess(log_folder / f"after-{point}.log", f"after-{point}")
    private.append(second)
    until_over(job, log=second.log)

    assert (job.state, job.exit_code, job.attempt) == ("succeeded", 0, attempts)
    assert job_kinds.results(job) == ["r\n"]
    assert job_kinds.settlements(job) == ["succeeded"]
    logs = "".join(log_of(job, number) for number in range(1, attempts + 1))
    assert logs.count("program started") == starts
    assert [row.outcome for row in job.attempts.all()] == ["lost", "succeeded"]


def test_a_worker_that_is_stopped_gives_its_job_to_another(
    private: list[WorkerProcess], log_folder: Path, actor: Actor, workspace: Workspace
) -> None:
    leaving = WorkerProcess(log_folder / "leaving.log", "leaving")
    private.append(leaving)
    script = "echo attempt $GATEHOUSE_ATTEMPT; [ $GATEHOUSE_ATTEMPT = 2 ] || sleep 4321"
    job = submit(actor, workspace, script, queue="evaluation")
    until(lambda: "attempt 1" in log_of(_fresh(job)), what=leaving.log)

    assert leaving.stop(seconds=10) == 0

    assert _fresh(job).state == "queued"
    assert not _is_running("4321")
    private.append(WorkerProcess(log_folder / "successor.log", "successor"))
    until_over(job, log=private[-1].log)
    assert (job.state, job.worker, job.max_attempts) == ("succeeded", "successor@test", 4)


def test_a_job_whose_hint_was_lost_is_found_by_the_scheduler(
    worker: WorkerProcess, actor: Actor, workspace: Workspace, send_to: Callable[[str], None]
) -> None:
    send_to("redis+socket:///nowhere/redis.sock")
    began = time.monotonic()
    job = submit(actor, workspace, "echo found again")
    assert time.monotonic() - began < 3
    time.sleep(1)
    assert _fresh(job).state == "queued"

    with (worker.log.parent / "scheduler.log").open("wb") as log:
        scheduler = subprocess.Popen(
            [sys.executable, "manage.py", "scheduler"],
            cwd=ROOM,
            env={**os.environ, **FAST},
            stderr=log,
        )
    try:
        until_over(job, log=worker.log)
    finally:
        scheduler.terminate()
        assert scheduler.wait(10) == 0
    assert "found again" in log_of(job)


def test_killing_redis_stops_no_job_and_the_worker_finds_its_way_back(
    private: list[WorkerProcess],
    log_folder: Path,
    actor: Actor,
    workspace: Workspace,
    send_to: Callable[[str], None],
) -> None:
    with tempfile.TemporaryDirectory(prefix="gh-redis-") as name:
        server = EmbeddedRedis(Path(name) / "data", Path(name) / "s" / "redis.sock", True)
        server.initialise()
        broker = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL)
        server.wait_until_ready()
        address = server.url.replace("unix://", "redis+socket://")
        send_to(address)
        own = WorkerProcess(log_folder / "own.log", "own", TEST_BROKER=address)
        private.append(own.wait_until_ready())
        first = submit(actor, workspace, "sleep 3; echo survived", queue="evaluation")
        until(lambda: _fresh(first).state == "running", what=own.log)

        broker.kill()
        broker.wait()
        second = submit(actor, workspace, "echo after", queue="evaluation")
        until_over(first, log=own.log)
        broker = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL)
        server.wait_until_ready()
        until(lambda: recovery.remind_workers() or _fresh(second).is_final)
        until_over(second, log=own.log)
        third = submit(actor, workspace, "echo back to normal", queue="evaluation")
        until_over(third, log=own.log)
        broker.kill()
        broker.wait()
    assert [_fresh(job).attempt for job in (first, second, third)] == [1, 1, 1]
    assert log_of(first).endswith("survived\n")


def test_a_hint_that_is_delivered_many_times_starts_nothing_twice(
    worker: WorkerProcess, actor: Actor, workspace: Workspace
) -> None:
    job = submit(actor, workspace, "echo started; sleep 1")
    for _ in range(20):
        services.hint("cpu")
    until_over(job, log=worker.log)
    assert log_of(job).count("started") == 1
    assert job.attempts.count() == 1


def test_a_worker_says_what_it_offers(worker: WorkerProcess, db: None) -> None:
    until(lambda: Worker.objects.filter(name="shared@test").exists(), seconds=15)
    found = Worker.objects.get(name="shared@test")
    assert found.queues == ["cpu"]
    assert (found.slots, found.sandbox) == (1, "root" if os.geteuid() == 0 else "user")
    assert found.memory_mb > 500


def _fresh(job: Job) -> Job:
    job.refresh_from_db()
    return job


def _is_running(marker: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"sleep\0{marker}\0".encode() in (entry / "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False


def _tar(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "source.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
