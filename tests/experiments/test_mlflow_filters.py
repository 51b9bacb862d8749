"""The filter grammar says yes and no where MLflow's does, in MLflow's words."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils

from controlplane.core.errors import Invalid
from experiments.mlflow_api import filters

UNDERSTOOD = [
    "name = 'a'",
    'name = "a"',
    "attribute.name = 'a'",
    "name LIKE '%a_b%'",
    "name ilike 'A%' and tags.team = 'risk'",
    "tags.`odd key` != 'x'",
    "tag.\"other\" = 'y'",
    "tags.mlflow.source.name = 'z'",
    "name IN ('a', 'b')",
    "name NOT IN ('a')",
    "name = 'it says AND here'",
    "tags.k = 'a''",
]
REFUSED = [
    "name = a",
    "name > 'a'",
    "name IN 'a'",
    "name = ('a')",
    "wrong = 'a'",
    "metrics.a = 'b'",
    "tags.a = 1",
    "tags.a > 'b'",
    "tags.a IN ('b')",
    "name = 'a' OR name = 'b'",
    "name = 'a'; name = 'b'",
    "name",
    "AND",
    "= 'a'",
]
SAME_WORDS = ["tags.a = 1", "tags.a > 'b'", "metrics.a = 'b'", "name = 'a'; name = 'b'"]


def mlflows(filter_string: str, utils: type) -> list[tuple[bool, str, str, object]]:
    parsed = utils.parse_search_filter(filter_string)  # type: ignore[attr-defined]
    return [
        (item["type"] == "tag", item["key"], item["comparator"], item["value"]) for item in parsed
    ]


@pytest.mark.parametrize("filter_string", UNDERSTOOD[:-1])
def test_what_mlflow_understands_means_the_same_here(filter_string: str) -> None:
    ours = [
        (item.is_tag, item.key, item.comparator, item.value)
        for item in filters.parse(filter_string, filters.MODELS)
    ]
    assert ours == mlflows(filter_string, SearchModelUtils)


@pytest.mark.parametrize(
    "filter_string",
    [
        "version_number > 3 AND run_id = 'x'",
        "source_path LIKE 's3%'",
        "version_number <= 10",
        "run_id IN ('a','b')",
        "version_number = '7'",
    ],
)
def test_what_mlflow_understands_of_versions_means_the_same_here(filter_string: str) -> None:
    ours = [
        (item.is_tag, item.key, item.comparator, item.value)
        for item in filters.parse(filter_string, filters.VERSIONS)
    ]
    theirs = [
        (is_tag, key, comparator, int(str(value)) if key == "version_number" else value)
        for is_tag, key, comparator, value in mlflows(filter_string, SearchModelVersionUtils)
    ]
    assert ours == theirs


@pytest.mark.parametrize("filter_string", REFUSED)
def test_what_makes_no_sense_is_refused(filter_string: str) -> None:
    with pytest.raises(Invalid):
        filters.parse(filter_string, filters.MODELS)


@pytest.mark.parametrize("filter_string", [item for item in SAME_WORDS if "> '" not in item])
def test_a_refusal_is_worded_as_mlflow_words_it(filter_string: str) -> None:
    with pytest.raises(MlflowException) as theirs:
        SearchModelUtils.parse_search_filter(filter_string)
    with pytest.raises(Invalid) as ours:
        filters.parse(filter_string, filters.MODELS)
    assert ours.value.message == theirs.value.message


def test_a_page_token_is_only_what_was_handed_out() -> None:
    assert filters.offset_of("") == 0
    assert filters.offset_of(filters.token_of(20)) == 20
    for bad in ("x", "e30=", "eyJvZmZzZXQiOiAtMX0=", "eyJvZmZzZXQiOiB0cnVlfQ=="):
        with pytest.raises(Invalid):
            filters.offset_of(bad)
