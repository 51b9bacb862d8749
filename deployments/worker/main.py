"""One model version in a process of its own, run by the Python of the version's environment.

Two modes, both of which see features only:

    main.py --serve --model DIR --socket NAME [--load native|pyfunc] [--predict-method …]
    main.py --score --model DIR --features FILE(.csv|.npz) --output FILE(.npz|.json)

Standard library and numpy at import time; MLflow, pandas and scikit-learn come from the
environment of the model. Gateway and agent import the frame format from here.

A frame is `u32 length of the body | u64 id | u8 kind | u8 dtype | u16 columns | u32 rows | body`,
little endian. A request is MATRIX (float64, row by row) or JSON ({"columns": {name: [values]}}).
Its answer is MATRIX (dtype FLOAT or INTEGER; 0 columns = one value a row), JSON (a list with one
entry per row) or ERROR ({"message": …}). PING is answered with the state, also while the model
is computing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import json
import os
import queue
import selectors
import socket
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<IQBBHI")
MATRIX, JSON, PING, ERROR = 1, 2, 3, 9
FLOAT, INTEGER = 0, 1
LARGEST_BODY = 64 * 1024 * 1024
# Types whose values a float64 holds exactly; rows of these alone travel as a matrix.
MATRIX_TYPES = frozenset({"double", "float", "integer"})
# What answers a client that does not read may pile up before the connection is closed.
LARGEST_BACKLOG = 64 * 1024 * 1024

_NUMPY_TYPES = {
    "double": "float64",
    "float": "float32",
    "integer": "int32",
    "long": "int64",
    "boolean": "bool",
}


class FrameError(ValueError):
    """The bytes are not a frame; the connection cannot be used any longer."""


class ModelUnusable(Exception):
    """The model cannot be loaded or called; the message is a sentence for the operator."""


def pack(
    identity: int, kind: int, body: bytes, *, dtype: int = 0, columns: int = 0, rows: int = 0
) -> bytes:
    """Return one frame."""
    return HEADER.pack(len(body), identity, kind, dtype, columns, rows) + body


@dataclass(slots=True)
class Frame:
    identity: int
    kind: int
    dtype: int
    columns: int
    rows: int
    body: bytes


def frames(buffer: bytearray) -> Iterator[Frame]:
    """Take every complete frame out of the buffer.

    Raises:
        FrameError: a length is beyond the maximum or does not fit rows and columns; checked
            before anything of that size is kept.
    """
    taken = 0
    try:
        while len(buffer) - taken >= HEADER.size:
            size, identity, kind, dtype, columns, rows = HEADER.unpack_from(buffer, taken)
            if size > LARGEST_BODY:
                raise FrameError(f"A frame of {size} bytes is above the limit of {LARGEST_BODY}.")
            if kind == MATRIX and size != rows * max(columns, 1) * 8:
                raise FrameError(f"{rows} rows of {columns} columns do not make {size} bytes.")
            start = taken + HEADER.size
            if len(buffer) < start + size:
                return
            taken = start + size
            yield Frame(identity, kind, dtype, columns, rows, bytes(buffer[start:taken]))
    finally:
        del buffer[:taken]


# --- the model ----------------------------------------------------------------------------------


class LoadedModel:
    """A model in memory, called with the columns of its signature.

    `call` takes a float64 matrix or a dict of columns and returns whatever the model returns.
    """

    def __init__(
        self, names: list[str], types: list[str], predict: Callable[[Any], Any], *, tensor: Any
    ) -> None:
        self.names = names
        self.types = types
        self.tensor = tensor
        self.predict = predict
        self.on_numbers = False
        self.may_take_numbers = False
        self.numeric = tensor is None and all(kind in MATRIX_TYPES for kind in types)
        self.classes: Any = None
        self.probabilities: Callable[[Any], Any] | None = None

    def table(self, rows: Any) -> Any:
        """Return what the model's own functions accept: a DataFrame with the signature's types."""
        import numpy as np

        if self.tensor is not None:
            dtype, shape = self.tensor
            return np.asarray(rows).reshape((-1, *shape[1:])).astype(dtype)
        import pandas as pd  # type: ignore[import-untyped]

        if isinstance(rows, dict):
            frame = pd.DataFrame({name: rows[name] for name in self.names})
        else:
            frame = pd.DataFrame(rows, columns=self.names)
        return frame.astype(
            {
                name: _NUMPY_TYPES[kind]
                for name, kind in zip(self.names, self.types, strict=True)
                if kind in _NUMPY_TYPES and not (kind[0] not in "df" and frame[name].isna().any())
            }
            | {
                name: "datetime64[ns]"
                for name, kind in zip(self.names, self.types, strict=True)
                if kind == "datetime"
            }
        )

    def call(self, rows: Any) -> Any:
        """Return the predictions for the rows."""
        return self.predict(rows if self.on_numbers else self.table(rows))

    def prove_numbers(self, rows: Any) -> str:
        """Call the model on plain numbers from now on, if that gives the same answers.

        Returns the sentence that says which way was chosen and why.
        """
        import numpy as np

        if not self.may_take_numbers:
            return "Called through MLflow's pyfunc."
        if not self.numeric:
            return "Called with a table: not all inputs are numbers."
        try:
            by_table = np.asarray(self.predict(self.table(rows)))
        except ImportError:
            self.on_numbers = True
            return "Called with plain numbers: the environment has no pandas."
        except Exception as error:
            return f"Called with a table: nothing to compare ({_first_line(error)})."
        try:
            by_numbers = np.asarray(self.predict(rows))
        except Exception as error:
            return f"Called with a table: plain numbers fail ({_first_line(error)})."
        if by_table.shape == by_numbers.shape and _equal(by_table, by_numbers):
            self.on_numbers = True
            return f"Called with plain numbers: equal answers on {len(rows)} rows."
        return "Called with a table: plain numbers give other answers."


def load(directory: Path, *, how: str, method: str) -> LoadedModel:
    """Return the model of an MLflow model directory.

    A scikit-learn model is read without MLflow when that is possible: it is there sooner and
    takes 50 MB less, and what happens is the same.

    Raises:
        ModelUnusable: a package or the method is missing, the flavour is, or loading failed.
    """
    meta = describe(directory)
    names, types, tensor = _inputs_of(meta)
    flavours = meta["flavors"]
    if how == "native" and "sklearn" in flavours:
        estimator = _tried(lambda: _scikit_learn_model(directory, flavours["sklearn"]))
        model = LoadedModel(names, types, _method(estimator, method), tensor=tensor)
        model.may_take_numbers = True
        model.classes = getattr(estimator, "classes_", None)
        model.probabilities = getattr(estimator, "predict_proba", None)
        return model
    if "python_function" not in flavours:
        raise ModelUnusable("The model has neither a scikit-learn nor a python_function flavour.")
    wrapped = _tried(lambda: _mlflow("mlflow.pyfunc").load_model(str(directory)))
    return LoadedModel(names, types, wrapped.predict, tensor=tensor)


def describe(directory: Path) -> dict[str, Any]:
    """Return the MLmodel file as data.

    Raises:
        ModelUnusable: it is missing or is not such a file.
    """
    try:
        import yaml
    except ImportError as error:
        raise ModelUnusable(
            "The model's environment has no MLflow, so the model cannot be read. "
            "Add `mlflow` to the requirements that the version was logged with."
        ) from error
    try:
        meta = yaml.safe_load((directory / "MLmodel").read_text(encoding="utf-8"))
        _ = meta["flavors"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ModelUnusable(f"The MLmodel file cannot be read: {_first_line(error)}") from error
    described: dict[str, Any] = meta
    return described


def _tried(loading: Callable[[], Any]) -> Any:
    try:
        return loading()
    except ModelUnusable:
        raise
    except Exception as error:
        traceback.print_exc()
        raise ModelUnusable(f"The model cannot be loaded: {_first_line(error)}") from error


def _scikit_learn_model(directory: Path, flavour: dict[str, Any]) -> Any:
    if flavour.get("code"):
        return _mlflow("mlflow.sklearn").load_model(str(directory))
    path = directory / flavour["pickled_model"]
    written = flavour.get("serialization_format", "pickle")
    if written == "skops":
        import skops.io

        return skops.io.load(path, trusted=flavour.get("skops_trusted_types"))
    loader = importlib.import_module("cloudpickle" if written == "cloudpickle" else "pickle")
    with path.open("rb") as file:
        return loader.load(file)


def _mlflow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelUnusable(
            "The model's environment has no MLflow, and this model cannot be loaded without. "
            "Add `mlflow` to the requirements that the version was logged with."
        ) from error


def _method(estimator: Any, name: str) -> Callable[[Any], Any]:
    found = getattr(estimator, name, None)
    if not callable(found):
        raise ModelUnusable(f"{type(estimator).__name__} has no method {name}.")
    called: Callable[[Any], Any] = found
    return called


def _inputs_of(meta: dict[str, Any]) -> tuple[list[str], list[str], Any]:
    text = (meta.get("signature") or {}).get("inputs")
    if not text:
        raise ModelUnusable(
            "The model has no signature; log it again with `signature=` or an input example."
        )
    inputs = json.loads(text)
    if inputs[0]["type"] == "tensor":
        spec = inputs[0]["tensor-spec"]
        return [], [], (spec["dtype"], tuple(spec["shape"]))
    names = [str(column.get("name", index)) for index, column in enumerate(inputs)]
    return names, [str(column["type"]) for column in inputs], None


def example_rows(directory: Path, model: LoadedModel) -> tuple[Any, bool]:
    """Return rows to warm up with, and whether they are the model's own input example."""
    import numpy as np

    try:
        columns = _input_example(directory)
        if model.tensor is None and columns is not None:
            chosen = {name: list(columns[name]) for name in model.names}
            if not model.numeric:
                return chosen, True
            return np.column_stack([np.asarray(chosen[n], "float64") for n in model.names]), True
        if columns is not None:
            return np.asarray(columns), True
    except Exception as error:
        raise ModelUnusable(f"The input example cannot be read: {_first_line(error)}") from error
    if model.tensor is not None:
        return np.zeros((1, *(max(n, 1) for n in model.tensor[1][1:]))), False
    if model.numeric:
        return np.zeros((1, len(model.names))), False
    blank = {"boolean": False, "string": "", "datetime": "2000-01-01"}
    return {
        name: [blank.get(kind, 0)] for name, kind in zip(model.names, model.types, strict=True)
    }, False


def _input_example(directory: Path) -> Any:
    """Return the example by columns, or an array for a tensor, or None."""
    about = describe(directory).get("saved_input_example_info")
    if not about:
        return None
    if about.get("type") == "dataframe" and about.get("pandas_orient") == "split":
        table = json.loads((directory / about["artifact_path"]).read_text(encoding="utf-8"))
        return dict(zip(map(str, table["columns"]), zip(*table["data"], strict=True), strict=True))
    meta = _mlflow("mlflow.models").Model.load(str(directory))
    return meta.load_input_example(str(directory))


def repeated(rows: Any, count: int) -> Any:
    """Return `count` rows by repeating the given ones."""
    if isinstance(rows, dict):
        return {name: (values * count)[:count] for name, values in rows.items()}
    import numpy as np

    return np.resize(rows, (count, *rows.shape[1:]))


def count_of(rows: Any) -> int:
    """Return how many rows there are."""
    return len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)


def warm_up(model: LoadedModel, directory: Path, *, max_rows: int, deadline_ms: int) -> str:
    """Call the model until its speed settles and see that it can answer at all.

    Returns the sentence for the operator.

    Raises:
        ModelUnusable: it fails on its own input example, answers with another number of rows, or
            needs longer for one row than the deadline.
    """
    rows, is_example = example_rows(directory, model)
    try:
        answers = shaped(model.call(rows), count_of(rows))
    except Exception as error:
        if is_example:
            traceback.print_exc()
            raise ModelUnusable(
                f"The model fails on its own input example: {_first_line(error)}"
            ) from error
        return "No input example, and zeros are refused: not warmed up."
    chosen = model.prove_numbers(_jittered(rows, model.types) if model.numeric else rows)
    one_row_ms = 0.0
    for size in (1, 8, max_rows):
        one_row_ms = min(_settled_ms(model, repeated(rows, size)), one_row_ms or 1e9)
    if one_row_ms > deadline_ms:
        raise ModelUnusable(
            f"One row takes {one_row_ms:.0f} ms, longer than the deadline of {deadline_ms} ms."
        )
    smoke = (
        f"Answered its input example ({len(answers)} rows)."
        if is_example
        else "It has no input example; warmed up with zeros."
    )
    return f"{smoke} {chosen} {one_row_ms:.2f} ms a row."


def _settled_ms(model: LoadedModel, rows: Any) -> float:
    best = 1e9
    for _ in range(6):
        started = time.perf_counter()
        model.call(rows)
        took = (time.perf_counter() - started) * 1_000
        if took > best * 0.9:
            return min(best, took)
        best = took
    return best


def _jittered(rows: Any, types: list[str]) -> Any:
    """Return the rows and, up to 64 in all, neighbours of them; whole numbers stay whole.

    A column stays between the smallest and the largest value of its examples: a model may refuse
    what lies beyond those it was made for, and that proves nothing about the way it is called.
    """
    import numpy as np

    many = repeated(rows, max(64, len(rows))).astype("float64")
    added = many[len(rows) :]
    added += np.random.default_rng(0).normal(0, 0.01, added.shape) * (np.abs(added) + 1)
    np.clip(
        added, np.nanmin(many[: len(rows)], axis=0), np.nanmax(many[: len(rows)], axis=0), added
    )
    whole = [kind == "integer" for kind in types]
    added[:, whole] = np.round(added[:, whole])
    return many


def _equal(first: Any, second: Any) -> bool:
    import numpy as np

    if first.dtype.kind == "f":
        return bool(np.allclose(first, second, rtol=1e-9, atol=1e-12, equal_nan=True))
    return bool((first == second).all())


def shaped(answers: Any, rows: int) -> Any:
    """Return the answers as an array or a list of row dicts, one entry per row.

    Raises:
        ModelUnusable: there are not as many answers as rows.
    """
    import numpy as np

    if hasattr(answers, "to_dict") and hasattr(answers, "columns"):
        answers = answers.to_dict(orient="records")
    elif not isinstance(answers, list):
        answers = np.asarray(answers)
    if getattr(answers, "shape", (0,)) == () or len(answers) != rows:
        given = 1 if getattr(answers, "shape", (0,)) == () else len(answers)
        raise ModelUnusable(f"The model returned {given} predictions for {rows} rows.")
    return answers


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


# --- serving ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Connection:
    """One gateway or agent. Only the door's thread touches the socket and the buffers."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)


class Door:
    """The socket and its thread: reads requests, answers pings, writes what the model answered.

    Sockets never block, so that one gateway which does not read stops nobody else.
    """

    def __init__(self, name: str) -> None:
        self.requests: queue.SimpleQueue[list[tuple[Connection, Frame]]] = queue.SimpleQueue()
        self.state = "loading"
        self.detail = ""
        self.busy_since: float | None = None
        self.batches = 0
        self.rows = 0
        self._answers: queue.SimpleQueue[tuple[Connection, bytes]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        Path(name).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(name)
        # The gateway runs as another user; who may reach the folder decides who may connect.
        Path(name).chmod(0o666)
        self._listener.listen(64)

    def start(self) -> None:
        for end in (self._listener, self._woken):
            end.setblocking(False)
            self._selector.register(end, selectors.EVENT_READ)
        threading.Thread(target=self._run_or_end, name="door", daemon=True).start()

    def answer(self, answers: Iterable[tuple[Connection, bytes]]) -> None:
        """Hand finished answers to the door's thread; never waits for a client."""
        for answer in answers:
            self._answers.put(answer)
        with contextlib.suppress(BlockingIOError):
            self._wake.send(b"\0")

    def _run_or_end(self) -> None:
        try:
            self._run()
        except BaseException:
            # A worker that can no longer be asked is worse than none: the agent starts another.
            traceback.print_exc()
            os._exit(70)

    def _run(self) -> None:
        while True:
            for key, events in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    self._woken.recv(4_096)
                elif events & selectors.EVENT_READ:
                    self._read(key.data)
                else:
                    self._write(key.data)
            touched = []
            while not self._answers.empty():
                connection, frame = self._answers.get()
                connection.unsent += frame
                touched.append(connection)
            for connection in touched:
                self._write(connection)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return  # the client has gone before it was let in
        accepted.setblocking(False)
        self._selector.register(accepted, selectors.EVENT_READ, Connection(accepted))

    def _read(self, connection: Connection) -> None:
        try:
            chunk = connection.socket.recv(1 << 20)
            if not chunk:
                self._close(connection)
                return
            connection.received += chunk
            arrived = []
            for frame in frames(connection.received):
                if frame.kind == PING:
                    connection.unsent += pack(frame.identity, PING, self._status())
                elif self.state != "ready":
                    connection.unsent += error_frame(frame.identity, "The model is not ready.")
                else:
                    arrived.append((connection, frame))
        except BlockingIOError:
            return
        except (OSError, FrameError) as error:
            _log(f"connection closed: {error}")
            self._close(connection)
            return
        if arrived:
            self.requests.put(arrived)
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        if connection.socket.fileno() < 0 or not connection.unsent:
            return
        try:
            sent = connection.socket.send(connection.unsent)
            del connection.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        if len(connection.unsent) > LARGEST_BACKLOG:
            self._close(connection)
            return
        wanted = selectors.EVENT_WRITE if connection.unsent else 0
        self._selector.modify(connection.socket, selectors.EVENT_READ | wanted, connection)

    def _close(self, connection: Connection) -> None:
        if connection.socket.fileno() >= 0:
            self._selector.unregister(connection.socket)
            connection.socket.close()
        connection.unsent.clear()

    def _status(self) -> bytes:
        since = self.busy_since
        return json.dumps(
            {
                "state": self.state,
                "detail": self.detail,
                "busy_ms": 0 if since is None else int((time.monotonic() - since) * 1_000),
                "batches": self.batches,
                "rows": self.rows,
            }
        ).encode()


def error_frame(identity: int, message: str) -> bytes:
    return pack(identity, ERROR, json.dumps({"message": message}).encode())


def serve(door: Door, model: LoadedModel, *, max_rows: int) -> None:
    """Answer requests for ever: all that wait together are one call of the model."""
    while True:
        waiting = door.requests.get()
        while not door.requests.empty():
            waiting += door.requests.get()
        for batch in batches(waiting, max_rows):
            door.busy_since = time.monotonic()
            answers = predict_batch(model, batch)
            door.busy_since = None
            door.batches += 1
            door.rows += sum(frame.rows for _, frame in batch)
            door.answer(answers)


Batch = list[tuple[Connection, Frame]]


def batches(waiting: Batch, max_rows: int) -> Iterator[Batch]:
    """Cut what waits into calls of one schema and at most `max_rows` rows (one request may be
    larger than that and then goes alone)."""
    by_schema: dict[tuple[int, int], Batch] = {}
    for entry in waiting:
        by_schema.setdefault((entry[1].kind, entry[1].columns), []).append(entry)
    for entries in by_schema.values():
        batch: Batch = []
        rows = 0
        for entry in entries:
            if batch and rows + entry[1].rows > max_rows:
                yield batch
                batch, rows = [], 0
            batch.append(entry)
            rows += entry[1].rows
        yield batch


def predict_batch(model: LoadedModel, batch: Batch) -> list[tuple[Connection, bytes]]:
    """Return an answer for every request; a bad row fails its own request only."""
    try:
        rows = [_rows_of(frame) for _, frame in batch]
        answers = shaped(model.call(_joined(rows)), sum(frame.rows for _, frame in batch))
    except Exception as error:
        if len(batch) > 1:
            return [answer for entry in batch for answer in predict_batch(model, [entry])]
        connection, frame = batch[0]
        if not isinstance(error, ModelUnusable):
            traceback.print_exc()
        message = str(error) if isinstance(error, ModelUnusable) else _first_line(error)
        return [(connection, error_frame(frame.identity, message))]
    answered = []
    start = 0
    for connection, frame in batch:
        answered.append((connection, answer_frame(frame, answers[start : start + frame.rows])))
        start += frame.rows
    return answered


def answer_frame(frame: Frame, answers: Any) -> bytes:
    """Return the predictions of one request as a frame."""
    kind = getattr(getattr(answers, "dtype", None), "kind", "O")
    if kind in "fiu" and answers.ndim <= 2 and answers.dtype.name not in ("uint64", "longdouble"):
        whole = kind != "f"
        columns = 0 if answers.ndim == 1 else answers.shape[1]
        return pack(
            frame.identity,
            MATRIX,
            answers.astype("int64" if whole else "float64").tobytes(),
            dtype=INTEGER if whole else FLOAT,
            columns=columns,
            rows=frame.rows,
        )
    plain = answers.tolist() if hasattr(answers, "tolist") else answers
    return pack(frame.identity, JSON, _json(plain), rows=frame.rows)


def _json(plain: Any) -> bytes:
    """Return JSON without the words NaN and Infinity, which are not JSON: null instead."""
    try:
        text = json.dumps(plain, default=_plain, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(
            json.loads(json.dumps(plain, default=_plain), parse_constant=lambda _: None)
        )
    return text.encode()


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _rows_of(frame: Frame) -> Any:
    if frame.kind == JSON:
        return json.loads(frame.body)["columns"]
    import numpy as np

    return np.frombuffer(frame.body, dtype="<f8").reshape(frame.rows, frame.columns)


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], dict):
        return {name: [value for part in parts for value in part[name]] for name in parts[0]}
    import numpy as np

    return np.concatenate(parts)


# --- scoring ------------------------------------------------------------------------------------


def score(directory: Path, features: Path, output: Path) -> None:
    """Write predictions, and probabilities and classes where the model has them.

    Raises:
        ModelUnusable: the model or the features cannot be used; the message says why.
    """
    model = load(directory, how="native", method="predict")
    rows = _read_features(features, model)
    total = count_of(rows)
    if not total:
        raise ModelUnusable(f"The features file {features.name} has no rows.")
    model.prove_numbers(_slice(rows, 0, 64))
    predictions: list[Any] = []
    probabilities: list[Any] = []
    for start in range(0, total, 10_000):
        part = _slice(rows, start, start + 10_000)
        size = count_of(part)
        try:
            answers = shaped(model.call(part), size)
            predictions += answers.tolist() if hasattr(answers, "tolist") else answers
            if model.probabilities is not None:
                ready = part if model.on_numbers else model.table(part)
                probabilities += shaped(model.probabilities(ready), size).tolist()
        except ModelUnusable:
            raise
        except Exception as error:
            traceback.print_exc()
            raise ModelUnusable(f"The model failed while scoring: {_first_line(error)}") from error
    classes = None if model.classes is None else model.classes.tolist()
    _write_scores(output, predictions, probabilities or None, classes)


def _read_features(path: Path, model: LoadedModel) -> Any:
    import numpy as np

    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if "features" not in archive:
                raise ModelUnusable(f"{path.name} has no array named `features`.")
            matrix = archive["features"]
            names = archive["columns"].tolist() if "columns" in archive else list(model.names)
        if model.tensor is not None:
            return matrix
        return _chosen(model, names, {name: matrix[:, i] for i, name in enumerate(names)})
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        try:
            columns = list(zip(*reader, strict=True)) or [()] * len(names)
        except ValueError as error:
            raise ModelUnusable(f"The rows of {path.name} have different lengths.") from error
    return _chosen(model, names, dict(zip(names, columns, strict=True)))


def _chosen(model: LoadedModel, names: list[str], columns: dict[str, Any]) -> Any:
    import numpy as np

    missing = [name for name in model.names if name not in names]
    if missing:
        raise ModelUnusable(f"The features file has no column {', '.join(missing[:5])}.")
    typed = {
        name: _typed(name, columns[name], kind)
        for name, kind in zip(model.names, model.types, strict=True)
    }
    if not model.numeric:
        return typed
    return np.column_stack([np.asarray(typed[name], dtype="float64") for name in model.names])


def _typed(name: str, values: Any, kind: str) -> list[Any]:
    readers: dict[str, Callable[[Any], Any]] = {
        "double": float,
        "float": float,
        "integer": int,
        "long": int,
        "boolean": lambda text: str(text).strip().lower() in ("true", "1"),
    }
    read = readers.get(kind, str)
    empty = float("nan") if read is float else None
    try:
        return [empty if isinstance(value, str) and not value else read(value) for value in values]
    except ValueError as error:
        raise ModelUnusable(f"Column {name} must be {kind}: {error}") from error


def _slice(rows: Any, start: int, stop: int) -> Any:
    if isinstance(rows, dict):
        return {name: values[start:stop] for name, values in rows.items()}
    return rows[start:stop]


def _write_scores(
    output: Path, predictions: list[Any], probabilities: list[Any] | None, classes: Any
) -> None:
    if output.suffix == ".npz":
        import numpy as np

        arrays = {"predictions": np.asarray(predictions)}
        if probabilities is not None:
            arrays["probabilities"] = np.asarray(probabilities)
        if classes is not None:
            arrays["classes"] = np.asarray(classes)
        np.savez(output, **arrays)  # type: ignore[arg-type]
        return
    output.write_text(
        json.dumps(
            {"predictions": predictions, "probabilities": probabilities, "classes": classes},
            default=_plain,
        ),
        encoding="utf-8",
    )


# --- the two modes ------------------------------------------------------------------------------


def main() -> int:
    """Run the mode of the command line; 2 means that the model cannot be used."""
    arguments = _arguments()
    # scikit-learn warns on every call that a model fitted with names is given plain numbers.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    if arguments.score:
        try:
            score(arguments.model, arguments.features, arguments.output)
        except ModelUnusable as error:
            _log(str(error))
            return 2
        return 0
    door = Door(arguments.socket)
    door.start()
    try:
        model = load(arguments.model, how=arguments.load, method=arguments.predict_method)
        door.detail = warm_up(
            model, arguments.model, max_rows=arguments.max_rows, deadline_ms=arguments.deadline_ms
        )
    except ModelUnusable as error:
        door.state, door.detail = "failed", str(error)
        _log(f"failed: {error}")
        # Stays until the agent has had time to ask why.
        time.sleep(30)
        return 2
    door.state = "ready"
    _log(f"ready: {door.detail}")
    serve(door, model, max_rows=arguments.max_rows)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold one model version and answer for it.")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--serve", action="store_true")
    mode.add_argument("--score", action="store_true")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--socket", default="worker.sock")
    parser.add_argument("--load", choices=("native", "pyfunc"), default="native")
    parser.add_argument("--predict-method", default="predict")
    parser.add_argument("--max-rows", type=int, default=128)
    parser.add_argument("--deadline-ms", type=int, default=1_000)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
