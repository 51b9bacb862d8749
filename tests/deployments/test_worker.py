"""The worker program: its frames, its batches, its manners towards bad rows and slow readers."""

from __future__ import annotations

import array
import csv
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from deployments.worker import main as worker
from deployments.worker.main import ERROR, JSON, MATRIX, PING, Door, Frame, LoadedModel, pack
from tests.deployments.serving import wait_for

PROGRAM = Path(worker.__file__)


def matrix(identity: int, *rows: Sequence[float]) -> bytes:
    body = array.array("d", [value for row in rows for value in row]).tobytes()
    return pack(identity, MATRIX, body, columns=len(rows[0]), rows=len(rows))


class Client:
    """A gateway's side of the wire."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self._buffer = bytearray()

    def answers(self, count: int) -> dict[int, Frame]:
        found: dict[int, Frame] = {}
        while len(found) < count:
            chunk = self.socket.recv(1 << 16)
            assert chunk, "the worker closed the connection"
            self._buffer += chunk
            found |= {frame.identity: frame for frame in worker.frames(self._buffer)}
        return found

    def status(self) -> dict[str, Any]:
        self.socket.sendall(pack(0, PING, b""))
        status: dict[str, Any] = json.loads(self.answers(1)[0].body)
        return status


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Path]]:
    """Serve a Python function as the model, in this process."""

    def serve(predict: Callable[[Any], Any]) -> Path:
        monkeypatch.chdir(tmp_path)
        model = LoadedModel(["a", "b"], ["double", "double"], predict, tensor=None)
        model.on_numbers = True
        door = Door("w.sock")
        door.start()
        door.state = "ready"
        threading.Thread(
            target=worker.serve, args=(door, model), kwargs={"max_rows": 128}, daemon=True
        ).start()
        return tmp_path / "w.sock"

    yield serve


def floats(frame: Frame) -> list[float]:
    assert frame.kind == MATRIX, frame
    return array.array("d", frame.body).tolist()


def test_requests_that_wait_together_are_one_call_of_the_model(
    served: Callable[[Any], Path],
) -> None:
    sizes: list[int] = []

    def total(rows: Any) -> Any:
        sizes.append(len(rows))
        time.sleep(0.05)
        return rows.sum(axis=1)

    client = Client(served(total))
    client.socket.sendall(matrix(1, [1, 2]))
    time.sleep(0.02)
    client.socket.sendall(b"".join(matrix(i, [i, 0], [0, i]) for i in range(2, 12)))
    answers = client.answers(11)
    assert sizes == [1, 20]
    assert floats(answers[1]) == [3]
    assert floats(answers[7]) == [7, 7]


def test_a_call_takes_no_more_rows_than_it_may(served: Callable[[Any], Path]) -> None:
    sizes: list[int] = []

    def total(rows: Any) -> Any:
        sizes.append(len(rows))
        return rows.sum(axis=1)

    client = Client(served(total))
    client.socket.sendall(b"".join(matrix(i, *[[1, 1]] * 50) for i in range(1, 6)))
    client.answers(5)
    assert sum(sizes) == 250
    assert max(sizes) <= 128


def test_a_bad_row_fails_its_own_request_only(served: Callable[[Any], Path]) -> None:
    def picky(rows: Any) -> Any:
        if (rows < 0).any():
            raise ValueError("negative ink")
        return rows.sum(axis=1)

    client = Client(served(picky))
    client.socket.sendall(b"".join(matrix(i, [i if i != 3 else -1, 0]) for i in range(1, 6)))
    answers = client.answers(5)
    assert answers[3].kind == ERROR
    assert json.loads(answers[3].body) == {"message": "ValueError: negative ink"}
    assert [floats(answers[i]) for i in (1, 2, 4, 5)] == [[1], [2], [4], [5]]


@pytest.mark.parametrize(
    ("given", "kind", "dtype", "value"),
    [
        (np.array([3]), MATRIX, worker.INTEGER, [3]),
        (np.array([0.5], dtype="float32"), MATRIX, worker.FLOAT, [0.5]),
        (np.array(["cat"]), JSON, 0, ["cat"]),
        (np.array([True]), JSON, 0, [True]),
        (["x"], JSON, 0, ["x"]),
        (np.array([{"p": float("nan")}], dtype=object), JSON, 0, [{"p": None}]),
    ],
)
def test_answers_keep_their_kind(
    served: Callable[[Any], Path], given: Any, kind: int, dtype: int, value: list[Any]
) -> None:
    client = Client(served(lambda rows: given))
    client.socket.sendall(matrix(1, [0, 0]))
    frame = client.answers(1)[1]
    assert (frame.kind, frame.dtype) == (kind, dtype)
    if kind == JSON:
        assert json.loads(frame.body) == value
    else:
        assert memoryview(frame.body).cast("q" if dtype else "d").tolist() == value


def test_probabilities_come_as_rows(served: Callable[[Any], Path]) -> None:
    client = Client(served(lambda rows: np.array([[0.25, 0.75]] * len(rows))))
    client.socket.sendall(matrix(1, [0, 0], [1, 1]))
    frame = client.answers(1)[1]
    assert (frame.columns, frame.rows, floats(frame)) == (2, 2, [0.25, 0.75, 0.25, 0.75])


def test_a_model_that_answers_with_too_few_rows_is_told_so(served: Callable[[Any], Path]) -> None:
    client = Client(served(lambda rows: np.zeros(1)))
    client.socket.sendall(matrix(1, [0, 0], [1, 1]))
    message = json.loads(client.answers(1)[1].body)["message"]
    assert message == "The model returned 1 predictions for 2 rows."


def test_it_says_that_it_is_busy_while_it_computes(served: Callable[[Any], Path]) -> None:
    release = threading.Event()

    def slow(rows: Any) -> Any:
        release.wait(10)
        return rows.sum(axis=1)

    path = served(slow)
    client, agent = Client(path), Client(path)
    assert agent.status()["busy_ms"] == 0
    client.socket.sendall(matrix(1, [1, 1]))
    wait_for(lambda: agent.status()["busy_ms"] > 50, 5)
    release.set()
    assert floats(client.answers(1)[1]) == [2]


def test_a_gateway_that_does_not_read_stops_nobody(served: Callable[[Any], Path]) -> None:
    path = served(lambda rows: np.zeros((len(rows), 2_000)))
    deaf, other = Client(path), Client(path)
    deaf.socket.sendall(b"".join(matrix(i, *[[0, 0]] * 40) for i in range(100)))
    other.socket.sendall(matrix(1, [0, 0]))
    assert other.answers(1)[1].columns == 2_000


@pytest.mark.parametrize(
    "bad",
    [
        worker.HEADER.pack(worker.LARGEST_BODY + 1, 1, MATRIX, 0, 1, 1),
        worker.HEADER.pack(8, 1, MATRIX, 0, 4, 1_000_000),
    ],
)
def test_a_frame_that_lies_about_its_size_ends_the_connection(
    served: Callable[[Any], Path], bad: bytes
) -> None:
    path = served(lambda rows: rows.sum(axis=1))
    liar, honest = Client(path), Client(path)
    liar.socket.sendall(bad)
    assert liar.socket.recv(10) == b""
    honest.socket.sendall(matrix(1, [1, 1]))
    assert floats(honest.answers(1)[1]) == [2]


def test_frames_survive_any_cutting() -> None:
    stream = matrix(1, [1, 2]) + pack(2, PING, b"") + matrix(3, [3, 4], [5, 6])
    buffer, seen = bytearray(), []
    for byte in stream:
        buffer.append(byte)
        seen += [frame.identity for frame in worker.frames(buffer)]
    assert seen == [1, 2, 3]
    assert not buffer


def test_pyfunc_and_native_give_equal_answers(served_models: dict[str, Path]) -> None:
    rows = load_digits().data[:20]
    native = worker.load(served_models["tree"], how="native", method="predict")
    pyfunc = worker.load(served_models["tree"], how="pyfunc", method="predict")
    said = worker.warm_up(native, served_models["tree"], max_rows=64, deadline_ms=5_000)
    assert "Called with plain numbers: equal answers on 64 rows." in said
    said = worker.warm_up(pyfunc, served_models["tree"], max_rows=64, deadline_ms=5_000)
    assert "Called through MLflow's pyfunc." in said
    assert native.call(rows).tolist() == pyfunc.call(rows).tolist()


def test_a_model_without_the_method_or_without_files_is_refused_with_a_sentence(
    served_models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(worker.ModelUnusable, match="has no method predict_proba"):
        worker.load(served_models["one"], how="native", method="predict_proba")
    with pytest.raises(worker.ModelUnusable, match="MLmodel file cannot be read"):
        worker.load(tmp_path, how="native", method="predict")
    for file in served_models["one"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.skops").write_bytes(b"not a model")
    with pytest.raises(worker.ModelUnusable, match="The model cannot be loaded"):
        worker.load(tmp_path, how="native", method="predict")


def test_a_model_slower_than_its_deadline_is_not_ready(served_models: dict[str, Path]) -> None:
    model = worker.load(served_models["tree"], how="native", method="predict")
    fast = model.predict

    def slow(rows: Any) -> Any:
        time.sleep(0.02)
        return fast(rows)

    model.predict = slow
    with pytest.raises(worker.ModelUnusable, match="longer than the deadline of 5 ms"):
        worker.warm_up(model, served_models["tree"], max_rows=8, deadline_ms=5)


# --- scoring ------------------------------------------------------------------------------------


def score(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(PROGRAM), "--score", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )


def test_scoring_writes_predictions_probabilities_and_classes(
    served_models: dict[str, Path], tmp_path: Path
) -> None:
    digits = load_digits(as_frame=True)
    features, output = tmp_path / "features.csv", tmp_path / "scores.json"
    digits.data.head(50).to_csv(features, index=False)
    model = served_models["tree"]
    done = score("--model", model, "--features", features, "--output", output)
    assert done.returncode == 0, done.stderr
    scores = json.loads(output.read_text())
    assert scores["predictions"] == digits.target.head(50).tolist()
    assert scores["classes"] == list(range(10))
    assert np.array(scores["probabilities"]).shape == (50, 10)
    archive = tmp_path / "features.npz"
    np.savez(
        archive,
        features=digits.data.to_numpy()[:50],
        columns=np.array(digits.data.columns, dtype=str),
    )
    done = score("--model", model, "--features", archive, "--output", tmp_path / "scores.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "scores.npz") as written:
        assert written["predictions"].tolist() == scores["predictions"]
        assert written["probabilities"].tolist() == scores["probabilities"]


def test_scoring_reads_words_and_whole_numbers(
    served_models: dict[str, Path], tmp_path: Path
) -> None:
    features, output = tmp_path / "features.csv", tmp_path / "scores.json"
    with features.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["city", "row", "age", "income"], ["Köln", 1, 20, 1.0], ["Bonn", 2, 50, 40.0]]
        )
    done = score("--model", served_models["customers"], "--features", features, "--output", output)
    assert done.returncode == 0, done.stderr
    scores = json.loads(output.read_text())
    assert scores["predictions"] == ["low", "high"]
    assert scores["classes"] == ["high", "low"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n1\n", "The features file has no column b."),
        ("a,b\n", "has no rows"),
        ("a,b\n1,x\n", "Column b must be double"),
    ],
)
def test_features_that_do_not_fit_are_refused_with_a_sentence(
    served_models: dict[str, Path], tmp_path: Path, text: str, message: str
) -> None:
    features = tmp_path / "features.csv"
    features.write_text(text)
    done = score(
        "--model", served_models["one"], "--features", features, "--output", tmp_path / "o.json"
    )
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "o.json").exists()
