"""The admin: for who administers access; everybody else is led to its sign-in address.

That address leads strangers on to the product's own page and refuses those who are signed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.architecture.permission_table import Row, World, answers

Fill = Callable[[World], dict[str, Any]]

ENTERS = answers(302, workspace_admin=200, foreign_admin=200)
# A form that is not filled in comes back with what is missing.
FILLS_IN = answers(302, workspace_admin=422, foreign_admin=422)
# A record of this workspace does not exist for the administrator of another: Django leads back.
OWN = answers(302, workspace_admin=200)
ACTS = answers(302, workspace_admin=200, foreign_admin=404)
ACTS_FILLED_IN = answers(302, workspace_admin=422, foreign_admin=404)
NOTHING_THERE = answers(302)
NOTHING_TO_DO = answers(302, workspace_admin=404, foreign_admin=404)


def _kind(base: str, *, new: tuple[str, ...] = (), act: str = "", record: Fill | None) -> list[Row]:
    """Return the rows of one kind of record; without a record there is none in this world."""
    fill: Fill = record or (lambda world: {"object_id": 0})
    rows = [
        Row(f"admin/{base}/", "GET", ENTERS),
        Row(
            f"admin/{base}/<path:object_id>/change/",
            "GET",
            OWN if record else NOTHING_THERE,
            fill=fill,
        ),
    ]
    for name in new:
        rows += [
            Row(f"admin/{base}/new/{name}/", "GET", ENTERS),
            Row(f"admin/{base}/new/{name}/", "POST", FILLS_IN, body=_nothing),
        ]
    if act:
        route = f"admin/{base}/<path:object_id>/{act}/"
        asks, told = (ACTS, ACTS_FILLED_IN) if record else (NOTHING_TO_DO, NOTHING_TO_DO)
        rows += [
            Row(route, "GET", asks, fill=fill),
            Row(route, "POST", told, fill=fill, body=_nothing),
        ]
    return rows


def _nothing(world: World) -> dict[str, str]:
    return {"nothing": "of use"}


def _viewer(world: World) -> dict[str, Any]:
    return {"object_id": world.people["viewer"].pk}


def _token(world: World) -> dict[str, Any]:
    return {"object_id": world.people["viewer"].tokens.get().pk}


def _grant(world: World) -> dict[str, Any]:
    rows = world.space.user_grants.filter(user=world.people["viewer"])
    return {"object_id": rows.get(permission__codename="view").pk}


ROWS = [
    Row("admin/", "GET", ENTERS),
    Row(
        "admin/login/",
        "GET",
        answers(403, anonymous=302, ci=302, workspace_admin=302, foreign_admin=302),
    ),
    Row("admin/logout/", "POST", answers(302)),
    Row("admin/jsi18n/", "GET", ENTERS),
    Row(
        "admin/^(?P<app_label>accounts|access|registry|auth)/$",
        "GET",
        ENTERS,
        address="admin/accounts/",
    ),
    *_kind("accounts/user", new=("person", "service-account"), act="deactivate", record=_viewer),
    *_kind("accounts/apitoken", new=("issue",), act="revoke", record=_token),
    *_kind("access/workspaceusergrant", new=("give",), act="revoke", record=_grant),
    *_kind("access/workspacegroupgrant", act="revoke", record=None),
    *_kind("registry/modelusergrant", new=("give",), act="revoke", record=None),
    *_kind("registry/modelgroupgrant", act="revoke", record=None),
    *_kind("registry/environmentusergrant", new=("give",), act="revoke", record=None),
    *_kind("registry/environmentgroupgrant", act="revoke", record=None),
    *_kind("auth/group", record=None),
]
