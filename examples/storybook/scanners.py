"""Two scanners that send digits to the gateway: one as always, one with another gain."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from storybook.narrator import tell, wait_for

CLIENTS = 4
SECOND_SCANNERS_GAIN = 1.5


@dataclass(frozen=True, slots=True)
class Digit:
    """One held-out image. ``id`` names it in the log of predictions."""

    id: str
    pixels: dict[str, float]
    label: int

    def scanned_with(self, gain: float) -> dict[str, float]:
        return {name: value * gain for name, value in self.pixels.items()}


@dataclass
class Answers:
    """What the clients got."""

    sent: int = 0
    failed: int = 0
    right: int = 0
    stood_in: int = 0
    versions: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        by = ", ".join(
            f"version {number}: {count}" for number, count in sorted(self.versions.items())
        )
        return f"{self.sent} requests, {self.failed} failed, {self.right} read right ({by})"


def read(path: Path) -> list[Digit]:
    """Return the digits of a CSV file, named by their place in it."""
    with path.open(newline="") as file:
        return [
            Digit(
                id=f"digit-{number:04d}",
                pixels={name: float(value) for name, value in row.items() if name != "label"},
                label=int(row["label"]),
            )
            for number, row in enumerate(csv.DictReader(file))
        ]


class Scanner:
    """A client of one deployment, with a prediction token."""

    def __init__(self, gateway_url: str, deployment: str, token: str) -> None:
        self._address = f"{gateway_url}/{deployment}"
        self.sent: set[str] = set()
        # Straight to our own machine, whatever proxy the shell names.
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False
        )

    def tell(self, sentence: str) -> None:
        tell(sentence, who="scanner")

    def wait_until_open(self) -> None:
        """Return once the gateway knows the token and serves the deployment."""

        def look() -> bool | None:
            try:
                return self._http.get(f"{self._address}/ping").status_code == 200 or None
            except httpx.TransportError:
                return None

        wait_for("the gateway to serve the deployment", look, seconds=20)

    def send(
        self,
        digits: Iterable[Digit],
        *,
        gain: float = 1.0,
        prefix: str = "",
        per_second: float = 0,
        until: Callable[[], bool] = lambda: False,
    ) -> Answers:
        """Send each digit once, a few at a time, and count the answers; stop early on ``until``."""
        answers = Answers()
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            pending = []
            for number, digit in enumerate(digits):
                if until():
                    break
                if per_second:
                    time.sleep(max(0.0, began + number / per_second - time.monotonic()))
                pending.append((digit, pool.submit(self._ask, digit, gain, prefix)))
            for digit, future in pending:
                _count(answers, digit, future.result())
        return answers

    def _ask(self, digit: Digit, gain: float, prefix: str) -> httpx.Response | None:
        """Return the answer, or None when there was none."""
        request_id = f"{prefix}{digit.id}"
        self.sent.add(request_id)
        try:
            return self._http.post(
                f"{self._address}/invocations",
                json={"dataframe_records": [digit.scanned_with(gain)]},
                headers={
                    # The same image always reaches the same version while shares stay.
                    "Gatehouse-Unit": digit.id,
                    "Gatehouse-Request-Id": request_id,
                },
            )
        except httpx.TransportError:
            return None


def _count(answers: Answers, digit: Digit, response: httpx.Response | None) -> None:
    answers.sent += 1
    if response is None or response.status_code != 200:
        answers.failed += 1
        return
    answers.versions[response.headers["Gatehouse-Version"]] += 1
    answers.stood_in += response.headers["Gatehouse-Assignment"] == "failover"
    answers.right += int(response.json()["predictions"][0]) == digit.label
