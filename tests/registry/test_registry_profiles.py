"""Profiles of datasets: exact, canonical, and a sentence for every file that cannot be used."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from controlplane.core import canonical_json
from registry.profiles import (
    DatasetProfile,
    ProfileError,
    profile_csv,
    profile_file,
    profile_files,
    profile_parquet,
)

MIXED = b"""id,height,colour,seen,on,ok
1,1.5,red,2026-01-01 10:00:00,2026-01-01,true
2,,blue,2026-03-01 10:00:00,2026-01-02,false
3,NaN,"",2026-02-01 10:00:00,2026-01-02,true
4,inf,red,,2026-01-03,true
5,-2.5,NA,2026-02-01 10:00:00,2026-01-04,
"""


def parquet_bytes(columns: dict[str, object], **options: object) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def test_each_column_is_profiled_by_what_it_holds() -> None:
    profile = profile_csv(MIXED)
    assert profile.rows == 5
    assert profile.schema_json() == [
        {"name": "id", "type": "integer"},
        {"name": "height", "type": "decimal"},
        {"name": "colour", "type": "text"},
        {"name": "seen", "type": "timestamp"},
        {"name": "on", "type": "date"},
        {"name": "ok", "type": "boolean"},
    ]
    _, height, colour, seen, on, ok = profile.columns
    assert (height.count, height.null, height.nan, height.infinite, height.distinct) == (
        4, 1, 1, 1, 2,
    )  # fmt: skip
    assert height.numeric is not None
    assert (height.numeric.minimum, height.numeric.maximum) == (-2.5, 1.5)
    assert (height.numeric.mean, height.numeric.negative) == (-0.5, 1)
    # Unquoted NA is missing, a quoted empty text is a value.
    assert (colour.count, colour.null, colour.distinct) == (4, 1, 3)
    assert [(top.value, top.count) for top in colour.top] == [("red", 2), ("", 1), ("blue", 1)]
    assert (seen.minimum, seen.maximum) == ("2026-01-01T10:00:00", "2026-03-01T10:00:00")
    assert (on.minimum, on.maximum, on.distinct) == ("2026-01-01", "2026-01-04", 4)
    assert [(top.value, top.count) for top in ok.top] == [("true", 3), ("false", 1)]


def test_numbers_are_those_of_numpy() -> None:
    values = np.random.default_rng(1).lognormal(2, 1, 3000)
    lines = "\n".join(["x", *map(repr, values.tolist())])
    (column,) = profile_csv(lines.encode()).columns
    summary = column.numeric
    assert summary is not None
    assert summary.mean == pytest.approx(values.mean())
    assert summary.sd == pytest.approx(values.std(ddof=1))
    assert summary.deciles == pytest.approx(np.quantile(values, np.linspace(0, 1, 11)))
    assert column.distinct == 3000
    assert column.top == ()


def test_the_json_is_canonical_and_the_same_for_the_same_bytes() -> None:
    first, again = profile_csv(MIXED), profile_csv(io.BytesIO(MIXED))
    assert canonical_json.digest(first.to_json()) == canonical_json.digest(again.to_json())
    other = profile_csv(MIXED.replace(b"-2.5", b"-2.4"))
    assert canonical_json.digest(other.to_json()) != canonical_json.digest(first.to_json())
    numeric = first.to_json()["columns"][1]["numeric"]
    assert Decimal(numeric["minimum"]) == Decimal("-2.5")
    assert len(numeric["deciles"]) == 11


@pytest.mark.parametrize(
    "payload",
    [
        "na\u0308me,b\ne\u0301,x\ny,z\n".encode(),
        ("t\n" + "ä" * 500 + "\n").encode(),
        b"x\n1e308\n-1e308\n1e308\n",
        b"x\n123456789012345678\n-5e-324\n",
        b"x\n99999999999999999999\n0.1\n",
    ],
)
def test_the_strangest_content_still_has_canonical_json(payload: bytes) -> None:
    canonical_json.dumps(profile_csv(payload).to_json())


def test_parquet_and_csv_of_the_same_table_have_the_same_profile() -> None:
    columns = {"a": [1, 2, None, 4], "b": [0.5, None, 0.25, 8.0], "c": ["x", "y", "x", None]}
    csv = b"a,b,c\n1,0.5,x\n2,,y\n,0.25,x\n4,8.0,\n"
    assert profile_parquet(parquet_bytes(columns)) == profile_csv(csv)


def test_parquet_types_that_csv_does_not_know_are_profiled_or_only_counted() -> None:
    profile = profile_parquet(
        parquet_bytes(
            {
                "coded": pa.array(["u", "v", "u"]).dictionary_encode(),
                "price": pa.array([Decimal("1.10"), None, Decimal("2.30")]),
                "at": pa.array([1, 1_000_000_001, None], pa.timestamp("ns", "UTC")),
                "list": [[1], [2, 3], None],
                "key": pa.array([2**53, 2**53 + 1, 2**53 + 2]),
            }
        )
    )
    coded, price, at, listed, key = profile.columns
    assert [(top.value, top.count) for top in coded.top] == [("u", 2), ("v", 1)]
    assert price.numeric is not None
    assert price.numeric.mean == pytest.approx(1.7)
    assert at.maximum == "1970-01-01T00:00:01+00:00"
    assert (listed.kind, listed.count, listed.null, listed.distinct) == ("other", 2, 1, None)
    assert key.distinct == 3
    canonical_json.dumps(profile.to_json())


def test_ties_among_the_most_frequent_values_go_by_text() -> None:
    identifiers = [f"id-{number:05}" for number in range(5000)]
    values = [*reversed(identifiers), "id-04000", "id-04000", "id-03000"]
    (column,) = profile_csv("\n".join(["key", *values]).encode()).columns
    assert [(top.value, top.count) for top in column.top[:4]] == [
        ("id-04000", 3),
        ("id-03000", 2),
        ("id-00000", 1),
        ("id-00001", 1),
    ]
    assert len(column.top) == 20
    assert column.distinct == 5000


def test_a_column_without_any_value_is_empty() -> None:
    column = profile_csv(b"a,b\n1,\n2,\n").columns[1]
    assert (column.kind, column.count, column.null) == ("empty", 0, 2)


def test_several_files_of_one_schema_count_as_one_table(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_bytes(b"a,b\n1,x\n2,y\n")
    (tmp_path / "two.parquet").write_bytes(parquet_bytes({"a": [2.5], "b": ["x"]}))
    profile = profile_files(
        [("one.csv", tmp_path / "one.csv"), ("two.parquet", tmp_path / "two.parquet")]
    )
    assert profile.rows == 3
    assert profile.schema_json()[0] == {"name": "a", "type": "decimal"}
    assert profile.columns[1].top[0].count == 2
    assert profile == profile_csv(b"a,b\n1,x\n2,y\n2.5,x\n")


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"", "The file is empty."),
        (b"\n \n", "The file is empty."),
        (b"a,b\n", "The file has a header but no rows."),
        (b"1,2\n3,4\n", "The file has no header: its first line holds numbers only."),
        (b"a,,c\n1,2,3\n", "Column 2 has no name in the header."),
        (b"a,b,a\n1,2,3\n", "Two columns are called “a”."),
        ("é,e\u0301\n1,2\n".encode(), "Two columns are called"),
        (b"a,b\n1,2\n3\n", "Line 3 has 1 cells, the header has 2."),
        (b'a,b\n1,"x\ny"\n\n3,4,5\n', "Line 5 has 3 cells, the header has 2."),
        (b"a,b\n1,2\n3,\xff\n", "Line 3 is not UTF-8 text."),
        (b"a,b\n1,2\n3,\x00\n", "line 3 holds a zero byte"),
        (b'a,b\n1,2\n3,"x\n4,5\n', "The row that begins in line 3 has a quote that is never"),
        (b"a;b\n1;2\n", "separated by semicolons"),
        (b"PAR1....PAR1", "it looks like a Parquet file"),
        (b"PK\x03\x04rest", "a zip archive or a spreadsheet"),
        ("a,b\n1,2\n".encode("utf-16"), "text in UTF-16"),
    ],
)
def test_a_csv_file_that_cannot_be_used_is_refused_with_a_sentence(
    payload: bytes, sentence: str
) -> None:
    with pytest.raises(ProfileError) as refusal:
        profile_csv(payload)
    assert sentence in str(refusal.value)
    assert str(refusal.value).endswith((".", "”."))


def test_a_parquet_file_that_cannot_be_used_is_refused_with_a_sentence() -> None:
    good = parquet_bytes({"a": [1, 2, 3]})
    for payload, sentence in (
        (b"a,b\n1,2\n", "This is not a Parquet file"),
        (good[:-20], "This is not a Parquet file"),
        (b"PAR1" + b"\x00" * 40 + b"PAR1", "The Parquet file cannot be read"),
        (parquet_bytes({"a": pa.array([], pa.int64())}), "columns but no rows"),
    ):
        with pytest.raises(ProfileError, match=sentence):
            profile_parquet(payload)


def test_files_that_do_not_go_together_are_refused_by_name() -> None:
    def refusal(*files: tuple[str, bytes]) -> str:
        with pytest.raises(ProfileError) as error:
            profile_files([(name, io.BytesIO(payload)) for name, payload in files])
        return str(error.value)

    assert refusal() == "The dataset has no files."
    assert refusal(("a.txt", b"a\n1\n")) == (
        "a.txt: Only files ending in .csv or .parquet can be profiled."
    )
    assert refusal(("a.csv", b"a\n1\n"), ("b.csv", b"b\n1\n")) == (
        "b.csv: its columns are not those of a.csv."
    )
    assert "different types" in refusal(("a.csv", b"a\n1\n"), ("b.csv", b"a\nx\n"))
    with pytest.raises(ProfileError, match="ending in"):
        profile_file("model.pkl", b"")


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_data() -> None:
    plain = profile_csv(b"a,b\n1,x\n2,y\n")
    assert profile_csv(b"\xef\xbb\xbfa,b\r\n1,x\r\n2,y\r\n") == plain
    assert isinstance(plain, DatasetProfile)
