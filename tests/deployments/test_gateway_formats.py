"""Every way to write rows gives the same numbers, and everything else a sentence."""

import math
import struct
from typing import Any

import orjson
import pytest

from deployments.gateway import formats
from deployments.gateway.errors import Refusal
from deployments.gateway.signature import Validator
from deployments.snapshot import Column, Signature, Tensor
from deployments.worker.main import JSON, MATRIX

NUMBERS = Validator(Signature(inputs=(Column("a", "double"), Column("b", "double"))))
MIXED = Validator(
    Signature(
        inputs=(
            Column("age", "integer"),
            Column("balance", "double"),
            Column("account", "long", required=False),
            Column("is_new", "boolean"),
            Column("city", "string"),
            Column("since", "datetime"),
        )
    )
)
IMAGE = Validator(Signature(tensor=Tensor("float64", (-1, 2, 2))))
GOOD = [[1.5, 2], [3, -4.25]]
GOOD_PERSON = {
    "age": 41,
    "balance": 1.5,
    "account": 2**60,
    "is_new": False,
    "city": "Köln",
    "since": "2024-05-01T10:00:00",
}


def parsed(validator: Validator, content: Any, kind: str = "application/json") -> Any:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return formats.parse(kind, body, validator, row_limit=3)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"dataframe_split": {"columns": ["a", "b"], "data": GOOD}}, "application/json"),
        (
            {"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1.5], [-4.25, 3]]}},
            "application/json; charset=utf-8",
        ),
        ({"dataframe_records": [{"a": 1.5, "b": 2}, {"b": -4.25, "a": 3}]}, "application/json"),
        ({"instances": [{"a": 1.5, "b": 2}, {"a": 3, "b": -4.25}]}, "application/json"),
        ({"instances": GOOD, "params": {}}, "application/json"),
        ({"inputs": {"a": [1.5, 3], "b": [2, -4.25]}}, "application/json"),
        ({"inputs": GOOD}, "application/json"),
        (b"a,b\n1.5,2\n3,-4.25\n", "text/csv"),
        (b"\xef\xbb\xbfb,a\r\n2, 1.5\r\n-4.25,3\r\n\r\n", "text/csv; charset=utf-8"),
    ],
)
def test_all_forms_carry_the_same_matrix(content: Any, kind: str) -> None:
    rows = parsed(NUMBERS, content, kind)
    assert (rows.kind, rows.columns, rows.count) == (MATRIX, 2, 2)
    assert struct.unpack("<4d", rows.body) == (1.5, 2.0, 3.0, -4.25)


def test_null_is_a_missing_double() -> None:
    for rows in (
        parsed(NUMBERS, {"instances": [[None, 1]]}),
        parsed(NUMBERS, b"a,b\n,1\n", "text/csv"),
    ):
        assert math.isnan(struct.unpack("<2d", rows.body)[0])
        assert list(rows.values[0]) == [None, 1]


def test_mixed_columns_keep_their_types() -> None:
    for content, kind in (
        ({"dataframe_records": [GOOD_PERSON]}, "application/json"),
        (
            b"age,balance,account,is_new,city,since\n"
            b"41,1.5,1152921504606846976,false,K\xc3\xb6ln,2024-05-01T10:00:00\n",
            "text/csv",
        ),
    ):
        rows = parsed(MIXED, content, kind)
        assert rows.kind == JSON
        assert orjson.loads(rows.body)["columns"] == {k: [v] for k, v in GOOD_PERSON.items()}


def test_an_optional_column_may_be_left_out() -> None:
    person = {name: value for name, value in GOOD_PERSON.items() if name != "account"}
    rows = parsed(MIXED, {"instances": [person]})
    assert orjson.loads(rows.body)["columns"]["account"] == [None]


def test_no_rows_are_no_error() -> None:
    assert parsed(NUMBERS, {"instances": []}).count == 0
    assert parsed(NUMBERS, {"dataframe_split": {"columns": ["a", "b"], "data": []}}).count == 0
    assert parsed(NUMBERS, b"a,b\n", "text/csv").count == 0


def test_a_tensor_is_flattened_row_by_row() -> None:
    rows = parsed(IMAGE, {"inputs": [[[1, 2], [3, 4]], [[5, 6], [7, 8.5]]]})
    assert (rows.columns, rows.count) == (4, 2)
    assert struct.unpack("<8d", rows.body) == (1, 2, 3, 4, 5, 6, 7, 8.5)


BAD: list[tuple[Validator, Any, str, int, str]] = [
    (NUMBERS, b"", "application/json", 400, "The body is empty"),
    (NUMBERS, b"", "text/csv", 400, "first line of CSV holds the columns"),
    (NUMBERS, b"{", "application/json", 400, "The body is not JSON"),
    (NUMBERS, b'{"instances": [[NaN, 1]]}', "application/json", 400, "send null for a missing"),
    (NUMBERS, b'{"instances": [[1e999, 1]]}', "application/json", 400, "send null for a missing"),
    (NUMBERS, b"[1]", "application/json", 400, "must be a JSON object"),
    (NUMBERS, {"rows": []}, "application/json", 400, "The body has none of them"),
    (
        NUMBERS,
        {"inputs": [], "instances": []},
        "application/json",
        400,
        "`instances` and `inputs`",
    ),
    (NUMBERS, {"instances": [], "x": 1}, "application/json", 400, "unknown key 'x'"),
    (NUMBERS, {"instances": [], "params": {"t": 1}}, "application/json", 400, "no parameters"),
    (NUMBERS, {"instances": {"a": 1}}, "application/json", 400, "one entry per row"),
    (NUMBERS, {"instances": [3]}, "application/json", 400, "Entry 0 of `instances` is not an"),
    (NUMBERS, {"instances": [[1, 2], 3]}, "application/json", 400, "must be a list, as the first"),
    (NUMBERS, {"dataframe_split": [1]}, "application/json", 400, "with `columns` and `data`"),
    (
        NUMBERS,
        {"dataframe_split": {"data": GOOD}},
        "application/json",
        400,
        "`columns` must be a list",
    ),
    (
        NUMBERS,
        {"dataframe_split": {"columns": ["a", "b"], "data": [1]}},
        "application/json",
        400,
        "Row 0 of `data` is not a list",
    ),
    (
        NUMBERS,
        {"dataframe_split": {"columns": ["a", "a"], "data": GOOD}},
        "application/json",
        400,
        "Column 'a' is given twice",
    ),
    (NUMBERS, {"instances": [{"a": 1}]}, "application/json", 400, "Missing column 'b' in row 0"),
    (
        NUMBERS,
        {"instances": [{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}]},
        "application/json",
        400,
        "Column 'c' in row 1 is not in the model's signature. It takes 2: 'a', 'b'",
    ),
    (NUMBERS, {"instances": [[1, 2, 3]]}, "application/json", 400, "Row 0 has 3 values"),
    (NUMBERS, {"inputs": {"a": [1], "b": [1, 2]}}, "application/json", 400, "different lengths"),
    (NUMBERS, {"inputs": {"a": [1]}}, "application/json", 400, "Missing column 'b'"),
    (
        NUMBERS,
        {"instances": [[1, 2], [1, "x"]]},
        "application/json",
        400,
        r"Column 'b', row 1: must be a double, got a string \('x'\)",
    ),
    (NUMBERS, {"instances": [[True, 2]]}, "application/json", 400, "got true or false"),
    (NUMBERS, b"a,b\nnan,2\n", "text/csv", 400, "NaN and infinity are refused"),
    (NUMBERS, b"a,b\n1e999,2\n", "text/csv", 400, "NaN and infinity are refused"),
    (NUMBERS, b"a,b\n1_0,2\n", "text/csv", 400, "must be a double"),
    (NUMBERS, b"a,b\n1\n", "text/csv", 400, "Row 0 has 1 values"),
    (NUMBERS, b"a,b\n\xff,1\n", "text/csv", 400, "not CSV in UTF-8"),
    (NUMBERS, {"instances": [[1, 2]] * 4}, "application/json", 413, "4 rows; at most 3"),
    (NUMBERS, b"a,b\n" + b"1,2\n" * 4, "text/csv", 413, "4 rows; at most 3"),
    (NUMBERS, b"x", "application/x-www-form-urlencoded", 415, "send application/json or text/csv"),
    (NUMBERS, b"x", "", 415, "The content type is none"),
    (
        MIXED,
        {"instances": [{**GOOD_PERSON, "age": 41.0}]},
        "application/json",
        400,
        "Column 'age', row 0: must be an integer, got 41.0",
    ),
    (
        MIXED,
        {"instances": [{**GOOD_PERSON, "age": 2**31}]},
        "application/json",
        400,
        "does not fit in an integer",
    ),
    (
        MIXED,
        {"instances": [{**GOOD_PERSON, "age": None}]},
        "application/json",
        400,
        "an integer cannot be null",
    ),
    (MIXED, {"instances": [{**GOOD_PERSON, "city": 1}]}, "application/json", 400, "must be a str"),
    (MIXED, {"instances": [{**GOOD_PERSON, "is_new": 1}]}, "application/json", 400, "a boolean"),
    (MIXED, {"instances": [{**GOOD_PERSON, "since": "?"}]}, "application/json", 400, "a datetime"),
    (IMAGE, {"inputs": [[[1, 2], [3]]]}, "application/json", 400, r"a list of 1 at \[0\]\[1\]"),
    (IMAGE, {"inputs": [[1, 2]]}, "application/json", 400, r"a single value at \[0\]\[0\]"),
    (IMAGE, {"inputs": {"x": 1}}, "application/json", 400, "nested list"),
    (IMAGE, {"dataframe_records": []}, "application/json", 400, "takes a tensor"),
]


@pytest.mark.parametrize(("validator", "content", "kind", "status", "message"), BAD)
def test_what_does_not_fit_is_refused_with_a_sentence(
    validator: Validator, content: Any, kind: str, status: int, message: str
) -> None:
    with pytest.raises(Refusal, match=message) as refused:
        parsed(validator, content, kind)
    assert refused.value.status == status


def test_a_refusal_of_many_columns_stays_short() -> None:
    wide = Validator(Signature(inputs=tuple(Column(f"c{i}", "double") for i in range(64))))
    with pytest.raises(
        Refusal, match=r"Missing columns 'c0', 'c1', 'c2', 'c3', 'c4' and 59 more in row 0"
    ):
        parsed(wide, {"dataframe_records": [{}]})
