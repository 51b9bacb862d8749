"""MLflow's filter and order grammar of the registry, turned into conditions for the database.

Comparisons joined by AND: ``name LIKE 'ch%' AND tags.team = 'risk' AND version_number > 2``. The
refusals are MLflow's, word for word: programs compare them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField, F, Lookup, OrderBy, Q
from django.db.models.fields.json import KeyTextTransform

from controlplane.core.errors import Invalid

PROMPT_TAG = "mlflow.prompt.is_prompt"
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'[^']*'|"[^"]*")
      | (?P<list>\([^)]*\))
      | (?P<comparator><=|>=|!=|=|<|>)
      | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
      | (?P<word>(?:[A-Za-z_][\w]*)(?:\.(?:`[^`]*`|"[^"]*"|'[^']*'|[\w\-/]+(?:\.[\w\-/]+)*))?
          | `[^`]*`)
      | (?P<other>\S)
    )""",
    re.VERBOSE,
)
_STRINGS = ("!=", "=", "LIKE", "ILIKE", "IN", "NOT IN")
_NUMBERS = (">", ">=", "!=", "=", "<", "<=")
_TAGS = ("!=", "=", "LIKE", "ILIKE")


@dataclass(frozen=True, slots=True)
class Grammar:
    """What may be asked of one kind of record: attribute name to the field that holds it."""

    attributes: Mapping[str, str]
    numeric: frozenset[str]
    with_lists: tuple[str, ...]
    order: Mapping[str, str]


MODELS = Grammar(
    attributes={"name": "name"},
    numeric=frozenset(),
    with_lists=("name",),
    order={
        "name": "name",
        "creation_timestamp": "created_at",
        "last_updated_timestamp": "updated_at",
    },
)
VERSIONS = Grammar(
    attributes={
        "name": "model__name",
        "version_number": "number",
        "run_id": "run_id",
        "source_path": "source",
    },
    numeric=frozenset({"version_number"}),
    with_lists=("name", "run_id"),
    order={
        "name": "model__name",
        "version_number": "number",
        "creation_timestamp": "created_at",
        "last_updated_timestamp": "updated_at",
    },
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison; ``is_tag`` tells a tag's key from an attribute's name."""

    is_tag: bool
    key: str
    comparator: str
    value: str | int | tuple[str, ...]


class Like(Lookup):
    """LIKE with the pattern as the client wrote it."""

    lookup_name = "mlflow_like"
    operator = "LIKE"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, left_values = self.process_lhs(compiler, connection)
        right, right_values = self.process_rhs(compiler, connection)
        return f"{left} {self.operator} {right}", (*left_values, *right_values)


class InsensitiveLike(Like):
    lookup_name = "mlflow_ilike"
    operator = "ILIKE"


def parse(filter_string: str, grammar: Grammar) -> list[Comparison]:
    """Return the comparisons of a filter; an empty filter has none.

    Raises:
        Invalid: it cannot be understood, or compares what cannot be compared.
    """
    if not filter_string.strip():
        return []
    if ";" in re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "", filter_string).rstrip().rstrip(";"):
        raise Invalid(
            f"Search filter contained multiple expression {filter_string!r}. "
            "Provide AND-ed expression list."
        )
    comparisons = []
    for clause in _clauses(_tokens(filter_string)):
        comparisons.append(_comparison(clause, grammar))
    return comparisons


def condition(comparisons: Sequence[Comparison], grammar: Grammar) -> Q:
    """Return the comparisons as one condition; prompts are hidden unless asked for."""
    wanted = Q()
    if not any(item.is_tag and item.key == PROMPT_TAG for item in comparisons):
        wanted &= _prompt(False, grammar)
    for item in comparisons:
        wanted &= _of_tag(item, grammar) if item.is_tag else _of_attribute(item, grammar)
    return wanted


def ordering(
    clauses: Sequence[str], grammar: Grammar, *, otherwise: Sequence[str]
) -> list[OrderBy]:
    """Return the order a client asked for, made total by name and number.

    Raises:
        Invalid: a clause cannot be understood.
    """
    keys: list[tuple[str, bool]] = []
    for clause in clauses or otherwise:
        key, ascending = _order_clause(clause, grammar)
        if any(key == seen for seen, _ in keys):
            raise Invalid(f"`order_by` contains duplicate fields: {list(clauses)}")
        keys.append((key, ascending))
    for key, ascending in (("name", True), ("version_number", False)):
        if key in grammar.order and not any(key == seen for seen, _ in keys):
            keys.append((key, ascending))
    return [OrderBy(F(grammar.order[key]), descending=not ascending) for key, ascending in keys]


def offset_of(token: str) -> int:
    """Return where a page begins.

    Raises:
        Invalid: the token is none of ours.
    """
    if not token:
        return 0
    try:
        offset = json.loads(base64.b64decode(token, validate=True))["offset"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise Invalid("Invalid page token, could not base64-decode") from None
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < 2**31:
        raise Invalid(f"Invalid page token, parsed offset {offset!r}")
    return offset


def token_of(offset: int) -> str:
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()


def _tokens(text: str) -> list[tuple[str, str]]:
    found = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        found.append((kind, match[kind]))
    return found


def _clauses(tokens: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    clause: list[tuple[str, str]] = []
    for kind, text in tokens:
        if kind == "word" and text.upper() == "AND":
            yield clause
            clause = []
        elif not (kind == "other" and text == ";"):
            clause.append((kind, text))
    yield clause


def _comparison(clause: list[tuple[str, str]], grammar: Grammar) -> Comparison:
    written = " ".join(text for _, text in clause)
    words = [text.upper() for _, text in clause]
    if len(clause) == 4 and words[1:3] == ["NOT", "IN"]:
        clause = [clause[0], ("comparator", "NOT IN"), clause[3]]
    elif len(clause) == 3 and words[1] in {"LIKE", "ILIKE", "IN"}:
        clause = [clause[0], ("comparator", words[1]), clause[2]]
    is_shaped = (
        len(clause) == 3
        and clause[0][0] in {"word", "text"}
        and clause[1][0] == "comparator"
        and clause[2][0] in {"text", "number", "list", "word"}
    )
    if not is_shaped:
        raise Invalid(f"Invalid clause(s) in filter string: {written}")
    is_tag, key = _identifier(clause[0][1], grammar.attributes)
    comparator = clause[1][1]
    value = _value(is_tag, key, clause[2], grammar)
    return _checked(Comparison(is_tag, key, comparator, value), grammar)


def _identifier(text: str, attributes: Mapping[str, str]) -> tuple[bool, str]:
    entity, separator, key = text.partition(".")
    if not separator:
        entity, key = "attribute", text
    if entity not in {"attribute", "tag", "tags"}:
        raise Invalid(
            f"Invalid entity type '{entity}'. Valid entity types are {('attribute', 'tag', 'tags')}"
        )
    key = _unquoted(key)
    if entity == "attribute" and key not in attributes:
        raise Invalid(
            f"Invalid attribute key '{key}' specified. Valid keys are '{set(attributes)}'"
        )
    return entity != "attribute", key


def _value(
    is_tag: bool, key: str, token: tuple[str, str], grammar: Grammar
) -> str | int | tuple[str, ...]:
    kind, text = token
    if kind == "text":
        return text[1:-1]
    if is_tag:
        raise Invalid(f"Expected a quoted string value for tag (e.g. 'my-value'). Got value {text}")
    if kind == "list":
        return _list(key, text, grammar)
    if kind == "number" and grammar.numeric:
        if key not in grammar.numeric:
            names = {"version_number", "creation_timestamp", "last_updated_timestamp"}
            raise Invalid(f"Only the '{names}' attributes support comparison with numeric values.")
        if "." in text:
            raise Invalid(f"Invalid value for numeric attribute '{key}': {float(text)!r}")
        return int(text)
    if kind == "word":
        raise Invalid(
            "Parameter value is either not quoted or unidentified quote types used for string "
            f"value {text}. Use either single or double quotes."
        )
    raise Invalid(
        "Expected a quoted string value or a list of quoted string values for attributes. "
        f"Got value {text}"
    )


def _list(key: str, text: str, grammar: Grammar) -> tuple[str, ...]:
    if key not in grammar.with_lists:
        raise Invalid(
            f"Only {sorted(grammar.with_lists)} attributes support comparison with a list of "
            "quoted string values."
        )
    inner = text[1:-1].strip().removesuffix(",")
    if not re.fullmatch(r"\s*('[^']*'|\"[^\"]*\")(\s*,\s*('[^']*'|\"[^\"]*\"))*\s*", inner):
        raise Invalid(
            "While parsing a list in the query, expected a non-empty list of string values, but "
            "got ill-formed list."
        )
    return tuple(item[1:-1] for item in re.findall(r"'[^']*'|\"[^\"]*\"", inner))


def _checked(item: Comparison, grammar: Grammar) -> Comparison:
    if item.is_tag:
        if item.comparator not in _TAGS:
            raise Invalid(f"Invalid comparator for tag: {item.comparator}")
        return item
    if item.key in grammar.numeric:
        if item.comparator not in _NUMBERS:
            raise Invalid(f"Invalid comparator for attribute {item.key}: {item.comparator}")
        try:
            number = int(item.value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise Invalid(
                f"Invalid value for numeric attribute '{item.key}': {item.value!r}"
            ) from None
        return Comparison(False, item.key, item.comparator, number)
    needs_list = item.comparator in {"IN", "NOT IN"}
    if item.comparator not in _STRINGS or needs_list != isinstance(item.value, tuple):
        raise Invalid(f"Invalid comparator for attribute: {item.comparator}")
    return item


def _of_attribute(item: Comparison, grammar: Grammar) -> Q:
    name = grammar.attributes[item.key]
    if item.comparator in {"=", "!="}:
        same = Q(**{name: item.value})
        return same if item.comparator == "=" else ~same
    if item.comparator in {"IN", "NOT IN"}:
        among = Q(**{f"{name}__in": item.value})
        return among if item.comparator == "IN" else ~among
    if item.comparator in {"LIKE", "ILIKE"}:
        return Q(_like(item.comparator)(F(name), item.value))
    suffix = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[item.comparator]
    return Q(**{f"{name}__{suffix}": item.value})


def _of_tag(item: Comparison, grammar: Grammar) -> Q:
    if item.key == PROMPT_TAG and item.value in {"true", "false"}:
        return _prompt((item.value == "true") == (item.comparator == "="), grammar)
    if item.comparator == "=":
        return Q(tags__contains={item.key: item.value})
    if item.comparator == "!=":
        # A record without the tag is not "different": as in MLflow, the tag must be there.
        return Q(tags__has_key=item.key) & ~Q(tags__contains={item.key: item.value})
    text = KeyTextTransform(item.key, "tags", output_field=CharField())
    return Q(_like(item.comparator)(text, item.value))


def _prompt(is_prompt: bool, grammar: Grammar) -> Q:
    name = "model__is_prompt" if "run_id" in grammar.attributes else "is_prompt"
    return Q(**{name: is_prompt})


def _like(comparator: str) -> type[Like]:
    return Like if comparator == "LIKE" else InsensitiveLike


def _order_clause(clause: str, grammar: Grammar) -> tuple[str, bool]:
    words = clause.replace("`", "").replace('"', "").split()
    if not words or len(words) > 2:
        raise Invalid(f"Invalid order_by clause '{clause}'. Could not be parsed.")
    if len(words) == 2 and words[1].lower() not in {"asc", "desc"}:
        raise Invalid(f"Invalid ordering key in order_by clause '{clause}'.")
    is_tag, key = _identifier(words[0], grammar.order)
    if is_tag:
        raise Invalid(f"Invalid order_by entity: tag with key '{key}'")
    return key, len(words) == 1 or words[1].lower() == "asc"


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "`'\"":
        return text[1:-1]
    return text
