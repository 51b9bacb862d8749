"""What a dataset holds, column by column, from its bytes. No Django, no database.

The profile is what later data is compared with, so it is exact, and its JSON is canonical
material: computed decimals are strings of 12 significant digits, texts are in normal form C.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from registry import tabular
from registry.tabular import ProfileError, Source

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ColumnProfile",
    "DatasetProfile",
    "NumericSummary",
    "ProfileError",
    "TopValue",
    "profile_csv",
    "profile_file",
    "profile_files",
    "profile_parquet",
]

TOP_VALUES = 20
LONGEST_TEXT = 100
_LARGEST_CANONICAL = 2**53 - 1


@dataclass(frozen=True, slots=True)
class NumericSummary:
    """Of the finite values. `sd` divides by n − 1; None for a single value.

    In JSON, what overflowed the range of a number (a mean of 1e308s) is null.
    `deciles` are the 11 edges from minimum to maximum, linearly interpolated; repeated edges stay.
    """

    minimum: float
    maximum: float
    mean: float
    sd: float | None
    deciles: tuple[float, ...]
    zero: int
    negative: int


@dataclass(frozen=True, slots=True)
class TopValue:
    """One of the most frequent values of a column; long texts are cut."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column. `count` + `null` are all rows; NaN and infinities count, and are counted apart.

    `kind` is integer, decimal, text, boolean, timestamp, date, time, empty (every cell missing) or
    other. `numeric` is None unless the column holds finite numbers; `minimum` and `maximum` are
    set for times and dates.
    """

    name: str
    kind: str
    count: int
    null: int
    distinct: int | None
    nan: int = 0
    infinite: int = 0
    minimum: str | None = None
    maximum: str | None = None
    numeric: NumericSummary | None = None
    top: tuple[TopValue, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the column as canonical-JSON material; decimals are strings."""
        body: dict[str, Any] = {
            "name": self.name,
            "type": self.kind,
            "count": self.count,
            "null": self.null,
            "distinct": self.distinct,
            "nan": self.nan,
            "infinite": self.infinite,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "top": [{"value": top.value, "count": top.count} for top in self.top],
            "numeric": None,
        }
        if self.numeric is not None:
            summary = self.numeric
            body["numeric"] = {
                "minimum": _exact(summary.minimum),
                "maximum": _exact(summary.maximum),
                "mean": _decimal(summary.mean),
                "sd": _decimal(summary.sd),
                "deciles": [_decimal(edge) for edge in summary.deciles],
                "zero": summary.zero,
                "negative": summary.negative,
            }
        return body


@dataclass(frozen=True, slots=True)
class DatasetProfile:
    """Rows, and a profile for each column in the order of the file."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def schema_json(self) -> list[dict[str, str]]:
        """Return name and type of every column, in order."""
        return [{"name": column.name, "type": column.kind} for column in self.columns]

    def to_json(self) -> dict[str, Any]:
        """Return the profile as canonical-JSON material: the same bytes give the same digest."""
        return {
            "version": 1,
            "rows": self.rows,
            "columns": [column.to_json() for column in self.columns],
        }


def profile_csv(source: Source) -> DatasetProfile:
    """Profile a CSV file: comma, UTF-8, one header row.

    Unquoted empty cells and `null`, `NULL`, `NA`, `N/A` are missing; `""` is an empty text. Blank
    lines are skipped.

    Raises:
        ProfileError: the bytes are not such a file; the sentence says where.
    """
    return _profile([tabular.read_csv(source)])


def profile_parquet(source: Source) -> DatasetProfile:
    """Profile a Parquet file.

    Raises:
        ProfileError: the bytes are not Parquet, or hold no rows.
    """
    return _profile([tabular.read_parquet(source)])


def profile_file(name: str, source: Source) -> DatasetProfile:
    """Profile a file by the ending of its name, `.csv` or `.parquet`.

    Raises:
        ProfileError: it is neither, or cannot be read as what its name says.
    """
    return _profile([tabular.read(name, source)])


def profile_files(files: Sequence[tuple[str, Path | BinaryIO]]) -> DatasetProfile:
    """Profile several files as one table; all must have the same columns in the same order.

    Raises:
        ProfileError: a file cannot be read, or differs from the first; the sentence names it.
    """
    if not files:
        raise ProfileError("The dataset has no files.")
    tables: list[pa.Table] = []
    for name, source in files:
        try:
            table = tabular.read(name, source)
        except ProfileError as error:
            raise ProfileError(f"{name}: {error}") from error
        if tables and table.column_names != tables[0].column_names:
            raise ProfileError(f"{name}: its columns are not those of {files[0][0]}.")
        tables.append(table)
    return _profile(tables)


def _profile(tables: list[pa.Table]) -> DatasetProfile:
    table = tabular.joined(tables)
    if not table.num_rows:
        raise ProfileError("The file has a header but no rows.")
    return DatasetProfile(
        rows=table.num_rows,
        columns=tuple(
            _column(name, table.column(index)) for index, name in enumerate(table.column_names)
        ),
    )


def _column(name: str, column: Any) -> ColumnProfile:
    from pyarrow import compute

    column = _plain(column)
    kind = tabular.kind_of(column.type)
    null = column.null_count
    count = len(column) - null
    facts: dict[str, Any] = {
        "name": _normal(name),
        "kind": kind,
        "count": count,
        "null": null,
        "distinct": None,
    }
    if kind in ("integer", "decimal"):
        return ColumnProfile(**facts | _numeric(column))
    if kind in ("text", "boolean"):
        facts["distinct"] = compute.count_distinct(column, mode="only_valid").as_py()
        return ColumnProfile(**facts, top=_top(column))
    if kind in ("timestamp", "date", "time"):
        facts["distinct"] = compute.count_distinct(column, mode="only_valid").as_py()
        if count:
            ends = compute.min_max(column).as_py()
            facts |= {
                "minimum": ends["min"].isoformat(),
                "maximum": ends["max"].isoformat(),
            }
    return ColumnProfile(**facts)


def _plain(column: Any) -> Any:
    """Undo dictionary encoding, and nanoseconds, which Python's own times cannot hold."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    if types.is_time64(column.type):
        return column.cast(pa.time64("us"), safe=False)
    return column


def _numeric(column: Any) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute, types

    values = column.drop_null().cast(pa.float64(), safe=False).to_numpy()
    finite = values[np.isfinite(values)]
    facts: dict[str, Any] = {
        "nan": int(np.isnan(values).sum()),
        "infinite": int(np.isinf(values).sum()),
        # Integers beyond 2^53 would fall together as floating-point numbers.
        "distinct": compute.count_distinct(column, mode="only_valid").as_py()
        if types.is_integer(column.type)
        else int(np.unique(finite).size),
    }
    if not finite.size:
        return facts
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(finite.mean())
        sd = float(finite.std(ddof=1)) if finite.size > 1 else None
        deciles = np.quantile(finite, np.linspace(0, 1, 11))
    facts["numeric"] = NumericSummary(
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        mean=mean,
        sd=sd,
        deciles=tuple(deciles.tolist()),
        zero=int((finite == 0).sum()),
        negative=int((finite < 0).sum()),
    )
    if facts["distinct"] <= TOP_VALUES:
        # Few values: a code or a class rather than a measure, so their shares are worth keeping.
        numbers, counts = np.unique(finite, return_counts=True)
        pairs = sorted(zip(counts.tolist(), numbers.tolist(), strict=True), key=_most_first)
        facts["top"] = tuple(TopValue(_exact(number), n) for n, number in pairs)
    return facts


def _top(column: Any) -> tuple[TopValue, ...]:
    counts = column.drop_null().value_counts()
    pairs = [
        (pair["counts"], _text(_shown(pair["values"]))) for pair in _best(counts) if pair["counts"]
    ]
    pairs.sort(key=_most_first)
    return tuple(TopValue(value, count) for count, value in pairs[:TOP_VALUES])


def _best(counts: Any) -> list[dict[str, Any]]:
    """The most frequent values, all those included that tie with the last one kept."""
    import numpy as np

    numbers = counts.field("counts").to_numpy(zero_copy_only=False)
    if numbers.size <= TOP_VALUES:
        return list(counts.to_pylist())
    threshold = np.partition(numbers, -TOP_VALUES)[-TOP_VALUES]
    above = np.flatnonzero(numbers > threshold)
    # Ties are broken by text. Of an identifier column all values tie: the first in order of text
    # are found without making Python objects of millions.
    tied = counts.filter(_mask(numbers == threshold))
    first = tied.field("values").cast("string").sort()[:TOP_VALUES].to_pylist()
    return [
        *(counts[int(index)].as_py() for index in above),
        *({"values": value, "counts": int(threshold)} for value in first),
    ]


def _mask(selected: Any) -> Any:
    import pyarrow as pa

    return pa.array(selected)


def _most_first(pair: tuple[int, Any]) -> tuple[int, Any]:
    return -pair[0], pair[1]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _text(text: str) -> str:
    return _normal(text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…")


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\x00", "\ufffd"))


def _exact(number: float) -> str:
    """Return the shortest decimal string that reads back as this number."""
    if number == int(number) and abs(number) <= _LARGEST_CANONICAL:
        return str(int(number))
    return repr(number)


def _decimal(number: float | None) -> str | None:
    """Return 12 significant digits: the last ones of a sum differ from processor to processor."""
    if number is None or not math.isfinite(number):
        return None
    return _exact(float(f"{number:.12g}"))
