"""Read CSV and Parquet bytes into one table, or say in a sentence why that is impossible."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

Source = Path | BinaryIO | bytes

_MISSING = ["", "null", "NULL", "NA", "N/A"]
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*\Z")
_BINARY_BEGINNINGS = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "a gzip archive",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"%PDF": "a PDF",
}


class ProfileError(ValueError):
    """The bytes are not a table that can be used. The message is a sentence for people."""


def read(name: str, source: Source) -> pa.Table:
    """Read a file as what the ending of its name says.

    Raises:
        ProfileError: the ending is neither `.csv` nor `.parquet`, or the bytes are not that.
    """
    ending = Path(name).suffix.lower()
    if ending == ".csv":
        return read_csv(source)
    if ending == ".parquet":
        return read_parquet(source)
    raise ProfileError("Only files ending in .csv or .parquet can be profiled.")


def read_csv(source: Source) -> pa.Table:
    """Read comma-separated UTF-8 text with one header row.

    Raises:
        ProfileError: it is something else; the sentence names the line where there is one.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    payload = _payload(source)
    _require_text(payload)
    names = _header(payload)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(payload),
            read_options=arrow_csv.ReadOptions(use_threads=False),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                null_values=_MISSING, strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise ProfileError(_what_is_wrong(payload, len(names)) or _first_line(error)) from error
    # Arrow takes an unclosed quote as a cell that holds the rest of the file.
    if payload.count(b'"') % 2 and (wrong := _what_is_wrong(payload, len(names))):
        raise ProfileError(wrong)
    if not table.num_rows:
        raise ProfileError("The file has a header but no rows.")
    return table


def read_parquet(source: Source) -> pa.Table:
    """Read a Parquet file.

    Raises:
        ProfileError: the bytes are not Parquet, a column name repeats, or there are no rows.
    """
    import pyarrow as pa
    from pyarrow import parquet

    payload = _payload(source)
    if payload[:4] != b"PAR1" or payload[-4:] != b"PAR1":
        raise ProfileError("This is not a Parquet file: its first or last bytes are not PAR1.")
    try:
        # ParquetFile, not read_table: a name like `year=2026` must not become a column.
        table = parquet.ParquetFile(pa.BufferReader(payload)).read()
    except (pa.ArrowException, OSError) as error:
        raise ProfileError(f"The Parquet file cannot be read: {_first_line(error)}") from error
    _require_names(table.column_names)
    if not table.num_rows:
        raise ProfileError("The file has columns but no rows.")
    return table


def joined(tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all tables; a column is decimal where one file has it so.

    Raises:
        ProfileError: a column has types that do not go together.
    """
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    try:
        # Permissive: integer meets decimal, and a column that is empty in one file.
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ProfileError(
            f"A column has different types in different files: {_first_line(error)}"
        ) from error


def kind_of(type_: Any) -> str:
    """Return the product's word for an Arrow type."""
    from pyarrow import types

    if types.is_dictionary(type_):
        return kind_of(type_.value_type)
    checks = {
        "empty": types.is_null,
        "boolean": types.is_boolean,
        "integer": types.is_integer,
        "decimal": lambda t: types.is_floating(t) or types.is_decimal(t),
        "text": lambda t: types.is_string(t) or types.is_large_string(t),
        "timestamp": types.is_timestamp,
        "date": types.is_date,
        "time": types.is_time,
    }
    return next((kind for kind, is_kind in checks.items() if is_kind(type_)), "other")


def _payload(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path):
        return source.read_bytes()
    return source.read()


def _require_text(payload: bytes) -> None:
    if not payload.strip():
        raise ProfileError("The file is empty.")
    for beginning, what in _BINARY_BEGINNINGS.items():
        if payload.startswith(beginning):
            raise ProfileError(f"This is not a CSV file: it looks like {what}.")
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        raise ProfileError(
            f"Line {line} is not UTF-8 text. Save the file as UTF-8 and upload it again."
        ) from error
    nul = payload.find(b"\x00")
    if nul >= 0:
        line = payload.count(b"\n", 0, nul) + 1
        raise ProfileError(f"This is not a CSV file: line {line} holds a zero byte.")


def _header(payload: bytes) -> list[str]:
    try:
        names = next((cells for _, cells, _ in _rows(payload)), [])
    except csv.Error as error:
        raise ProfileError(f"The header cannot be read as CSV: {error}.") from error
    for separator, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and separator in names[0]:
            raise ProfileError(f"The cells are separated by {called}; save the file with commas.")
    if all(_NUMBER.match(name) for name in names):
        raise ProfileError(
            "The file has no header: its first line holds numbers only. "
            "Put the names of the columns there."
        )
    _require_names(names)
    return names


def _require_names(names: list[str]) -> None:
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise ProfileError(f"Column {position} has no name in the header.")
        # Normal form C is what is stored: names that only differ in their bytes would collide.
        normal = unicodedata.normalize("NFC", name)
        if normal in seen:
            raise ProfileError(f"Two columns are called “{name}”.")
        seen.add(normal)


def _what_is_wrong(payload: bytes, expected: int) -> str:
    """Find the first ragged row or unclosed quote; Arrow counts rows, people count lines."""
    line = 1
    try:
        for start, cells, after in _rows(payload):
            if len(cells) != expected:
                return f"Line {start} has {len(cells)} cells, the header has {expected}."
            line = after
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            return f"The row that begins in line {line} has a quote that is never closed."
        return f"Line {line} cannot be read as CSV: {error}."
    return ""


def _rows(payload: bytes) -> Iterator[tuple[int, list[str], int]]:
    """Yield (its first line, cells, the line after it) of every row that is not blank."""
    text = io.TextIOWrapper(io.BytesIO(payload), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    start = 1
    for cells in reader:
        after = reader.line_num + 1
        if cells:
            yield start, cells, after
        start = after


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
