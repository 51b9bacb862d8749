"""The gateway: who may not ask, what cannot be asked, and what cannot be answered now."""

from __future__ import annotations

from typing import Any

from tests.refusals.table import EDGE, Row

_PAIR = [[0.0, 1.0]]


def _row(
    name: str,
    deployment: str,
    body: Any,
    *answer: Any,
    **headers: str,
) -> Row:
    status, code, says = answer
    return Row(
        name,
        lambda scene: scene.predict(deployment, body, **headers),
        *(status, code, says),
        EDGE,
        given=lambda scene: scene.gateway,
        needs_processes=True,
    )


ROWS = [
    _row(
        "a prediction without a token",
        *("pair", {"instances": _PAIR}),
        *(401, "UNAUTHENTICATED", "Send a prediction token"),
        Authorization="",
    ),
    _row(
        "a prediction with a wrong token",
        *("pair", {"instances": _PAIR}),
        *(401, "UNAUTHENTICATED", "unknown here"),
        Authorization="Bearer wrong",
    ),
    _row(
        "a prediction with an expired token",
        *("pair", {"instances": _PAIR}),
        *(401, "UNAUTHENTICATED", "has expired"),
        Authorization="Bearer over",
    ),
    _row(
        "a prediction of a deployment that does not exist",
        *("nowhere", {"instances": _PAIR}),
        *(404, "RESOURCE_DOES_NOT_EXIST", "There is no deployment 'nowhere'"),
    ),
    _row(
        "a prediction while nothing is live",
        *("empty", {"instances": _PAIR}),
        *(503, "NO_LIVE_VERSION", "has no live version"),
    ),
    _row(
        "a body that is too large",
        *("small", {"instances": _PAIR * 50}),
        *(413, "REQUEST_TOO_LARGE", "at most 100"),
    ),
    _row(
        "too many rows",
        *("small", {"instances": [[1, 2]] * 3}),
        *(413, "REQUEST_TOO_LARGE", "at most 2"),
    ),
    _row(
        "a body without rows",
        *("pair", {"rows": _PAIR}),
        *(400, "BAD_REQUEST", "instances"),
    ),
    _row(
        "a row with too few values",
        *("pair", {"instances": [[1]]}),
        *(400, "BAD_REQUEST", "Row 0 has 1 values"),
    ),
    _row(
        "a row without a column",
        *("pair", {"dataframe_records": [{"a": 1.0}]}),
        *(400, "BAD_REQUEST", "b"),
    ),
    _row(
        "a word where a number belongs",
        *("pair", {"instances": [["one", 2.0]]}),
        *(400, "BAD_REQUEST", "a"),
    ),
    _row(
        "a number that is none",
        *("pair", '{"instances": [[NaN, 2.0]]}'),
        *(400, "BAD_REQUEST", "NaN and Infinity are not JSON"),
    ),
    _row(
        "a value that is missing",
        *("customers", {"instances": [[None, 1.0, "Bonn"]]}),
        *(400, "BAD_REQUEST", "Column 'age', row 0: an integer cannot be null."),
    ),
    _row(
        "a format that is not spoken",
        *("pair", {}),
        *(415, "UNSUPPORTED_MEDIA_TYPE", "send application"),
        **{"Content-Type": "text/plain"},
    ),
]
