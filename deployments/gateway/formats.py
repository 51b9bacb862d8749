"""MLflow's ways of writing rows: four JSON forms and CSV."""

import csv
import io
import sys
from collections.abc import Sequence
from typing import Any

import orjson

from deployments.gateway.errors import Refusal
from deployments.gateway.signature import Rows, Validator

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_BESIDE = frozenset({"params"})
_NOT_A_NUMBER = frozenset({"nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"})


def parse(content_type: str, body: bytes, validator: Validator, *, row_limit: int) -> Rows:
    """Return the rows of a request body, checked against the signature.

    Raises:
        Refusal: 400 with a sentence, 413 above the row limit, 415 for another content type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        rows = _json(body, validator, row_limit)
    elif kind == "text/csv":
        rows = _csv(body, validator, row_limit)
    else:
        given = f"“{kind[:60]}”" if kind else "none"
        raise Refusal(415, f"The content type is {given}; send application/json or text/csv.")
    return rows


def _json(body: bytes, validator: Validator, row_limit: int) -> Rows:
    if not body:
        raise Refusal(400, f"The body is empty. {_expected()}")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(
            400,
            f"The body is not JSON: {error}. "
            "NaN and Infinity are not JSON either; send null for a missing value.",
        ) from error
    if not isinstance(data, dict):
        raise Refusal(400, f"The body must be a JSON object. {_expected()}")
    forms = [form for form in FORMS if form in data]
    if len(forms) != 1:
        found = " and ".join(f"`{form}`" for form in forms) or "none of them"
        raise Refusal(400, f"{_expected()} The body has {found}.")
    unknown = [key for key in data if key not in FORMS and key not in _BESIDE]
    if unknown:
        raise Refusal(400, f"The body has an unknown key {unknown[0][:60]!r}. {_expected()}")
    if data.get("params"):
        raise Refusal(400, "The model's signature has no parameters; leave `params` out.")
    form = forms[0]
    value = data[form]
    if form == "dataframe_split":
        return _split(value, validator, row_limit)
    if form == "dataframe_records":
        return _records(value, validator, row_limit, form)
    return _tensor_form(value, validator, row_limit, form)


def _expected() -> str:
    return "Give exactly one of " + ", ".join(f"`{form}`" for form in FORMS) + "."


def _split(value: Any, validator: Validator, row_limit: int) -> Rows:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise Refusal(400, "`dataframe_split` must be an object with `columns` and `data`.")
    data = value["data"]
    columns = value.get("columns")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise Refusal(400, "`columns` must be a list of the columns' names.")
    _limit(len(data), row_limit)
    for index, row in enumerate(data):
        if not isinstance(row, list):
            raise Refusal(400, f"Row {index} of `data` is not a list of values.")
    _no_columns_in_tensor(validator)
    return validator.table(columns, data)


def _records(value: Any, validator: Validator, row_limit: int, form: str) -> Rows:
    if not isinstance(value, list):
        raise Refusal(400, f"`{form}` must be a list of objects, one per row.")
    _limit(len(value), row_limit)
    _no_columns_in_tensor(validator)
    return validator.records(value, word=form)


def _tensor_form(value: Any, validator: Validator, row_limit: int, form: str) -> Rows:
    """Read `instances` (row by row) or `inputs` (rows, or one list per column)."""
    if validator.tensor is not None:
        if isinstance(value, list):
            _limit(len(value), row_limit)
        return validator.tensor_rows(value)
    if isinstance(value, dict):
        if form == "instances":
            raise Refusal(400, "`instances` must be a list, one entry per row.")
        return _columnar(value, validator, row_limit)
    if isinstance(value, list) and value and isinstance(value[0], list):
        _limit(len(value), row_limit)
        if not all(isinstance(row, list) for row in value):
            raise Refusal(400, f"Every entry of `{form}` must be a list, as the first one is.")
        return validator.table(validator.names, value)
    return _records(value, validator, row_limit, form)


def _columnar(value: dict[str, Any], validator: Validator, row_limit: int) -> Rows:
    columns = [entry if isinstance(entry, list) else [entry] for entry in value.values()]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise Refusal(400, "The columns of `inputs` have different lengths.")
    count = lengths.pop() if lengths else 0
    _limit(count, row_limit)
    data: Sequence[Sequence[Any]] = list(zip(*columns, strict=True))
    return validator.table(list(value), data)


def _csv(body: bytes, validator: Validator, row_limit: int) -> Rows:
    _no_columns_in_tensor(validator)
    try:
        lines = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refusal(400, f"The body is not CSV in UTF-8: {error}.") from error
    if not lines:
        raise Refusal(400, "The body is empty; the first line of CSV holds the columns' names.")
    columns, *data = lines
    _limit(len(data), row_limit)
    kinds = {column.name: column.type for column in validator.signature.inputs}
    for index, row in enumerate(data):
        if len(row) != len(columns):
            raise Refusal(
                400, f"Row {index} has {len(row)} values, but there are {len(columns)} columns."
            )
    return validator.table(
        columns,
        [
            [
                _cell(name, kinds.get(name, "string"), text, index)
                for name, text in zip(columns, row, strict=True)
            ]
            for index, row in enumerate(data)
        ],
    )


def _cell(name: str, kind: str, text: str, row: int) -> Any:
    """Return the value that the text means in a column of this type."""
    if kind in ("string", "datetime"):
        return text
    word = text.strip()
    if not word:
        return None
    if "_" in word:  # Python would read 1_0 as ten
        return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(word.lower(), word)
    if word.lower() in _NOT_A_NUMBER:
        raise Refusal(
            400,
            f"Column {name!r}, row {row}: NaN and infinity are refused; "
            "leave the cell empty for a missing value.",
        )
    try:
        number = int(word) if kind in ("integer", "long") else float(word)
    except ValueError:
        return text
    # 1e999 is a number in CSV and infinity in the machine; as an int it is refused by its size.
    return number if abs(number) <= sys.float_info.max else int(sys.float_info.max) * 10


def _no_columns_in_tensor(validator: Validator) -> None:
    if validator.tensor is not None:
        raise Refusal(400, "This model takes a tensor; send it as `instances` or `inputs`.")


def _limit(count: int, row_limit: int) -> None:
    if count > row_limit:
        raise Refusal(413, f"The request has {count} rows; at most {row_limit} are allowed.")
