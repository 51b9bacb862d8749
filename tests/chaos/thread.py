"""A short thread from data to live traffic, during which one process after the other is killed."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from controlplane.local.home import CLONE
from tests.chaos.house import House, Refused, rows_of_digits

HERE = Path(__file__).parent
LOCK = CLONE / "examples" / "digits" / "requirements.lock"
DEPLOYMENT = "reader-production"
VICTIMS = ("redis", "scheduler", "web", "agent", "gateway")
_FINAL = {"succeeded", "failed", "timed_out", "cancelled", "rejected"}


@dataclass
class Answered:
    """What clients of the gateway got: prediction id to version, and how many got no answer."""

    versions: dict[str, str] = field(default_factory=dict)
    unanswered: int = 0


class Traffic:
    """Clients that never stop asking; as a context they begin and end."""

    def __init__(self, address: str, token: str, rows: list[dict[str, float]]) -> None:
        self.answered = Answered()
        self._address, self._rows = address, rows
        self._headers = {"Authorization": f"Bearer {token}"}
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def __enter__(self) -> Answered:
        for thread in self._threads:
            thread.start()
        return self.answered

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(headers=self._headers, timeout=10, trust_env=False) as client:
            number = 0
            while not self._is_over.wait(0.05):
                number += 1
                body = {"dataframe_records": [self._rows[number % len(self._rows)]]}
                try:
                    answer = client.post(f"{self._address}/invocations", json=body)
                except httpx.TransportError:
                    self.answered.unanswered += 1
                    continue
                if answer.status_code == 200:
                    identifier = answer.headers["Gatehouse-Prediction-Id"]
                    self.answered.versions[identifier] = answer.headers["Gatehouse-Version"]
                else:
                    self.answered.unanswered += 1


@dataclass
class Played:
    """A house in which the thread has been played to its end."""

    house: House
    jobs: list[str]
    versions: list[int]
    promotions: list[int]
    answered: Answered
    token: str
    rows: list[dict[str, float]]

    @property
    def address(self) -> str:
        return f"{self.house.demo.gateway_url}/{DEPLOYMENT}"


def play(house: House, folder: Path) -> Played:
    """Two versions are trained, evaluated, let through and live, whatever is killed meanwhile."""
    files = rows_of_digits(folder)
    _prepare(house, files)
    jobs = [_train(house, "first")]
    house.until("the first figures", lambda: _metrics(house, jobs[0]) or None)
    house.kill("redis")
    # Nobody can be told of this one: its message goes nowhere.
    jobs.append(_train(house, "second"))
    house.kill("scheduler")
    time.sleep(0.5)
    house.kill("web")
    versions = [_version_of(house, job) for job in jobs]

    promotions = []
    jobs.append(_evaluate(house, versions[0]))
    promotions.append(_promote(house, versions[0], killing=("web", "scheduler")))
    token = house.ask(
        "engineer",
        "POST",
        "tokens/",
        {"name": "scanner", "kind": "predict", "days": 1, "deployments": [DEPLOYMENT]},
    )["secret"]
    rows = _requests(files["requests"])
    address = f"{house.demo.gateway_url}/{DEPLOYMENT}"
    house.until("the first answer", lambda: _is_served(address, token))
    with Traffic(address, token, rows) as answered:
        house.until("some answers", lambda: len(answered.versions) > 50 or None)
        house.kill("agent")
        jobs.append(_evaluate(house, versions[1]))
        house.until("the agent's return", lambda: _is_served(address, token))
        house.kill("gateway")
        house.until("the gateway's return", lambda: _is_served(address, token))
        promotions.append(_promote(house, versions[1], killing=("redis", "gateway")))
        new = str(versions[1])
        house.until("the new version", lambda: new in set(answered.versions.values()) or None)
    return Played(house, jobs, versions, promotions, answered, token, rows)


def _prepare(house: House, files: dict[str, Path]) -> None:
    """Data is sealed, the model has a name, and the policy waits for seconds only."""
    policy = (HERE / "policy.yaml").read_text()
    body = {"risk_tier": "low", "source": policy, "reason": "Rollouts in seconds."}
    house.ask("admin", "POST", "environments/production/policies/", body)
    house.ask("engineer", "POST", "models/", {"name": "reader", "risk_tier": "low"})
    for name in ("train", "holdout"):
        path = f"datasets/{name}/versions/"
        file = (f"{name}.csv", files[name].read_bytes())
        house.ask("engineer", "POST", path, files={"file": file})
        house.until(f"{name} to be sealed", partial(_is_sealed, house, f"{path}1/"))


def _is_sealed(house: House, path: str) -> bool | None:
    return house.ask("engineer", "GET", path)["state"] == "sealed" or None


def _train(house: House, name: str) -> str:
    """Return the id of a training job that was queued."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(HERE / "training" / "train.py", "train.py")
        tar.add(LOCK, "requirements.lock")
    spec = {
        "name": name,
        "experiment": "chaos",
        "command": ["python", "train.py"],
        "inputs": [{"name": "train", "dataset": "train@1"}],
    }
    sent = {"source": ("source.tar.gz", archive.getvalue()), "lock": ("lock", LOCK.read_bytes())}
    started = house.ask(
        "engineer", "POST", "training/", files=sent, data={"spec": json.dumps(spec)}
    )
    return str(started["job"]["id"])


def _metrics(house: House, job: str) -> Any:
    run = house.ask("engineer", "GET", f"jobs/{job}/")["run_id"]
    return house.ask("engineer", "GET", f"runs/{run}/")["metrics"]


def _finished(house: House, job: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = house.ask("engineer", "GET", f"jobs/{job}/")
        return found if found["state"] in _FINAL else None

    ended = house.until(f"the end of job {job}", look)
    assert ended["state"] == "succeeded", (ended["error"], ended["last_lines"])
    return ended


def _version_of(house: House, job: str) -> int:
    """Return the number of the version that the job registered, once it has ended."""
    run = _finished(house, job)["run_id"]
    listed = house.ask("engineer", "GET", "models/reader/versions/")["results"]
    return next(int(version["number"]) for version in listed if version["run_id"] == run)


def _evaluate(house: House, version: int) -> str:
    path = f"models/reader/versions/{version}/evaluations/"
    body = {"dataset": "holdout@1", "label": "label", "slice": "ink"}
    job = str(house.ask("engineer", "POST", path, body)["id"])
    _finished(house, job)
    return job


def _promote(house: House, version: int, *, killing: tuple[str, ...]) -> int:
    """Return the number of the promotion that made the version live; kill right after signing."""
    body = {"model": "reader", "version": version, "environment": "production"}
    number = int(house.ask("ci", "POST", "promotions/", body)["number"])
    address = f"promotions/{number}/"

    def in_state(*states: str) -> Any:
        found = house.ask("ci", "GET", address)
        assert found["state"] not in {"blocked", "rolled_back", "expired"}, found
        return found if found["state"] in states else None

    waiting = house.until(f"PR-{number} in review", lambda: in_state("in_review"))
    signed = {
        "subject_digest": waiting["subject_digest"],
        "password": house.people["approver"]["password"],
    }
    try:
        house.ask("approver", "POST", f"{address}approve/", signed)
    except Refused as refused:
        # Asked again because the answer was lost: the first one has counted.
        assert refused.status == 409, refused
    for name in killing:
        house.kill(name)
    house.until(f"PR-{number} to be completed", lambda: in_state("completed"))
    return number


def _requests(file: Path) -> list[dict[str, float]]:
    with file.open(newline="") as lines:
        return [
            {name: float(value) for name, value in row.items() if name != "label"}
            for row in csv.DictReader(lines)
        ][:200]


def _is_served(address: str, token: str) -> bool | None:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = httpx.get(f"{address}/ping", headers=headers, timeout=5, trust_env=False)
    except httpx.TransportError:
        return None
    return answer.status_code == 200 or None
