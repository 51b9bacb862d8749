"""Small words for tests of pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.test import Client

from controlplane.core.actor import Actor
from deployments.models import Rollout
from registry.services import promotions
from tests import make
from tests.rooms import Room

HTMX = {"HX-Request": "true"}
SignIn = Callable[[Actor], Client]


def as_role(room: Room, role: str) -> Actor:
    """Return a new person of the room with that role."""
    return make.acting(make.person(role, workspace=room.workspace), room.workspace)


def at(room: Room, page: str = "") -> str:
    return f"/w/{room.workspace.key}/{page}"


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def under_way(room: Room) -> Rollout:
    """Return the rollout of the room's first version, approved and being prepared."""
    promotion = room.requested()
    room.approve(promotion, room.approver)
    promotions.execute(promotion.pk, actor=Actor.system("gatekeeper"))
    return Rollout.objects.get(promotion=promotion)
