"""Do the rows of a request fit the model's signature? Refused here, they never reach a batch.

The quick way looks at all values at once; only when it finds something odd are they looked at one
by one, to say which row and column is wrong.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import orjson

from deployments.gateway.errors import Refusal
from deployments.snapshot import Column, Signature
from deployments.worker.main import JSON, MATRIX, MATRIX_TYPES

FLOATS = frozenset({"double", "float"})
SERVED_TYPES = MATRIX_TYPES | {"long", "boolean", "string", "datetime"}
_INTEGER_LIMITS = {"integer": 2**31, "long": 2**63}
_NAN = math.nan
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that fit: how they travel to the worker, and as values for the capture record."""

    kind: int
    body: bytes
    columns: int
    count: int
    values: Sequence[Sequence[Any]]


class Validator:
    """Checks rows against one signature."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.names = [column.name for column in signature.inputs]
        self.tensor = signature.tensor
        self._known = frozenset(self.names)
        self._matrix = all(column.type in MATRIX_TYPES for column in signature.inputs)
        self._floats = all(column.type in FLOATS for column in signature.inputs)
        self._optional = frozenset(c.name for c in signature.inputs if not c.required)

    def table(self, columns: list[str], data: Sequence[Sequence[Any]]) -> Rows:
        """Return the rows of a table whose columns may come in any order.

        Raises:
            Refusal: 400 with the sentence for the first thing that does not fit.
        """
        if columns != self.names:
            data = self._reordered(columns, data)
        if set(map(len, data)) - {len(self.names)}:
            row = next(i for i, row in enumerate(data) if len(row) != len(self.names))
            raise Refusal(
                400,
                f"Row {row} has {len(data[row])} values, but there are {len(self.names)} columns.",
            )
        if self._floats:
            quick = self._all_floats(data)
            if quick is not None:
                return quick
        checked = [
            [
                self._value(column, value, index)
                for column, value in zip(self.signature.inputs, row, strict=True)
            ]
            for index, row in enumerate(data)
        ]
        return self._packed(checked)

    def records(self, records: Sequence[Any], *, word: str) -> Rows:
        """Return the rows of a list of objects; ``word`` names the list in a refusal."""
        names = self.names
        rows = []
        for index, record in enumerate(records):
            if not isinstance(record, dict):
                raise Refusal(400, f"Entry {index} of `{word}` is not an object with the columns.")
            if len(record) != len(names) or record.keys() != self._known:
                self._refuse_columns(list(record), f" in row {index}")
            rows.append([record.get(name) for name in names])
        return self.table(names, rows)

    def tensor_rows(self, data: Any) -> Rows:
        """Return the rows of a nested list that must have the tensor's shape."""
        if self.tensor is None:
            raise Refusal(400, "This model takes named columns, not a tensor.")
        if not isinstance(data, list):
            raise Refusal(400, "A tensor is given as a nested list.")
        shape = self.tensor.shape[1:]
        width = math.prod(abs(n) for n in shape)
        if width > 65_535:
            raise Refusal(400, "Tensors with more than 65535 values a row cannot be sent.")
        flat = [_flatten(entry, shape, f"[{index}]") for index, entry in enumerate(data)]
        whole = self.tensor.dtype.startswith(("int", "uint"))
        column = Column("tensor", "long" if whole else "double")
        rows = [[self._value(column, value, i) for value in row] for i, row in enumerate(flat)]
        body = array("d", chain.from_iterable(rows)).tobytes()
        return Rows(MATRIX, body, width, len(rows), rows)

    def _reordered(
        self, columns: list[str], data: Sequence[Sequence[Any]]
    ) -> Sequence[Sequence[Any]]:
        if len(set(columns)) != len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise Refusal(400, f"Column {twice!r} is given twice.")
        if set(columns) != self._known:
            self._refuse_columns(columns, "")
        places = {name: index for index, name in enumerate(columns)}
        order = [places.get(name) for name in self.names]
        for index, row in enumerate(data):
            if len(row) != len(columns):
                raise Refusal(
                    400, f"Row {index} has {len(row)} values, but there are {len(columns)} columns."
                )
        return [[None if i is None else row[i] for i in order] for row in data]

    def _refuse_columns(self, columns: list[str], where: str) -> None:
        given = set(columns)
        missing = [n for n in self.names if n not in given and n not in self._optional]
        extra = [name for name in columns if name not in self._known]
        if missing:
            raise Refusal(400, f"Missing column{_listed(missing)}{where}.")
        if extra:
            raise Refusal(
                400,
                f"Column{_listed(extra)}{where} is not in the model's signature. "
                f"It takes {len(self.names)}: {_listed(self.names).lstrip('s ')}.",
            )

    def _all_floats(self, data: Sequence[Sequence[Any]]) -> Rows | None:
        flat = list(chain.from_iterable(data))
        kinds = set(map(type, flat))
        if not kinds <= {float, int}:
            return None
        try:
            body = array("d", flat).tobytes()
        except OverflowError:
            return None
        return Rows(MATRIX, body, len(self.names), len(data), data)

    def _packed(self, rows: list[list[Any]]) -> Rows:
        if self._matrix:
            numbers = [_NAN if v is None else v for v in chain.from_iterable(rows)]
            body = array("d", numbers).tobytes()
            return Rows(MATRIX, body, len(self.names), len(rows), rows)
        columns = {name: [row[i] for row in rows] for i, name in enumerate(self.names)}
        body = orjson.dumps({"columns": columns})
        return Rows(JSON, body, len(self.names), len(rows), rows)

    def _value(self, column: Column, value: Any, row: int) -> Any:
        kind = column.type
        if value is None:
            if kind in FLOATS or not column.required:
                return None
            raise Refusal(400, f"Column {column.name!r}, row {row}: {_a(kind)} cannot be null.")
        if kind in FLOATS:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return _finite(column, value, row)
        elif kind in _INTEGER_LIMITS:
            if isinstance(value, int) and not isinstance(value, bool):
                limit = _INTEGER_LIMITS[kind]
                if -limit <= value < limit:
                    return value
                raise Refusal(
                    400, f"Column {column.name!r}, row {row}: {value} does not fit in {_a(kind)}."
                )
        elif kind == "boolean":
            if isinstance(value, bool):
                return value
        elif kind == "string":
            if isinstance(value, str):
                return value
        elif kind == "datetime":
            if isinstance(value, str) and _is_time(value):
                return value
        else:
            raise Refusal(
                400,
                f"Column {column.name!r} has the type {kind}, which cannot be sent as JSON yet.",
            )
        raise Refusal(
            400, f"Column {column.name!r}, row {row}: must be {_a(kind)}, got {_shown(value)}."
        )


def _finite(column: Column, value: float, row: int) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Refusal(
            400,
            f"Column {column.name!r}, row {row}: NaN and infinity are refused; "
            "send null for a missing value.",
        )
    return number


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "integer" else f"a {kind}"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    kinds = {bool: "true or false", str: "a string", list: "a list", dict: "an object"}
    named = kinds.get(type(value))
    return f"{named} ({str(value)[:40]!r})" if named else repr(value)[:60]


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{'s' if len(names) > 1 else ''} {shown}{more}"


def _flatten(entry: Any, shape: tuple[int, ...], place: str) -> list[Any]:
    if not shape:
        if isinstance(entry, list):
            raise Refusal(400, f"The tensor is nested too deeply at {place}.")
        return [entry]
    if not isinstance(entry, list) or (shape[0] >= 0 and len(entry) != shape[0]):
        found = f"a list of {len(entry)}" if isinstance(entry, list) else "a single value"
        raise Refusal(400, f"The tensor has {found} at {place}, not {shape[0]} values.")
    return [
        value
        for index, inner in enumerate(entry)
        for value in _flatten(inner, shape[1:], f"{place}[{index}]")
    ]
