"""The frame around every page: who is here, in which workspace, and where they can go."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from django.http import HttpRequest
from django.urls import reverse

from controlplane.access import services as access
from controlplane.accounts.models import User, Workspace
from controlplane.accounts.workspaces import open_to
from controlplane.core.actor import Actor
from frontend import counts

THEMES = ("light", "dark")


@dataclass(frozen=True)
class Place:
    """One entry of the sidebar: page, icon, key after `g`, count of what is open."""

    name: str
    page: str
    icon: str
    key: str = ""
    counted: str = ""
    is_mine: bool = False
    needs_verb: str = ""


@dataclass(frozen=True)
class Entry:
    name: str
    url: str
    icon: str
    key: str
    count: int
    is_mine: bool
    is_current: bool


@dataclass(frozen=True)
class Group:
    name: str
    items: list[Entry] = field(default_factory=list)


PLACES: tuple[tuple[str, tuple[Place, ...]], ...] = (
    (
        "",
        (
            Place("Home", "home", "home", "h"),
            Place("Promotions", "promotions", "reviews", "p", counted="reviews", is_mine=True),
        ),
    ),
    (
        "Registry",
        (Place("Models", "models", "models", "m"), Place("Datasets", "datasets", "data", "d")),
    ),
    ("Delivery", (Place("Rollouts", "rollouts", "rollout", "r", counted="rollouts"),)),
    (
        "Compute",
        (
            Place("Training queue", "queue", "queue", "q", counted="jobs"),
            Place("Runs", "runs", "runs", "u"),
        ),
    ),
    ("Assurance", (Place("Audit log", "audit", "audit", "a", needs_verb="audit_read"),)),
)


class Shell:
    """Asked for by the base template only, so that fragments cost no query."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    @property
    def theme(self) -> str:
        chosen = self.request.COOKIES.get("theme", "")
        return chosen if chosen in THEMES else ""

    @property
    def workspace(self) -> Workspace | None:
        """The workspace that the page's door opened; None on pages outside one."""
        return getattr(self.request, "workspace", None)

    @property
    def person(self) -> User | None:
        """The signed-in person, when the page stands inside a workspace; else the frame is bare."""
        user = getattr(self.request, "user", None)
        return user if isinstance(user, User) and self.workspace else None

    @property
    def single_keys(self) -> bool:
        return self.person.single_keys if self.person else True

    @property
    def home(self) -> str:
        return reverse("pages:home", args=[self.workspace.key]) if self.workspace else "/"

    @cached_property
    def workspaces(self) -> list[Workspace]:
        return list(open_to(self.person)) if self.person else []

    @cached_property
    def verbs(self) -> frozenset[str]:
        """What the reader may do in the workspace itself."""
        if self.workspace is None:
            return frozenset()
        return access.verbs_on(Actor.from_request(self.request), self.workspace)

    @property
    def administers(self) -> bool:
        return "admin_access" in self.verbs

    @cached_property
    def groups(self) -> list[Group]:
        """The sidebar without what the reader cannot open: three counts, one question."""
        if self.workspace is None or self.person is None:
            return []
        open_now = counts.open_for(Actor.from_request(self.request))
        groups = []
        for name, places in PLACES:
            items = []
            for place in places:
                if place.needs_verb and place.needs_verb not in self.verbs:
                    continue
                items.append(self._entry(place, open_now.get(place.counted, 0)))
            if items:
                groups.append(Group(name, items))
        return groups

    def _entry(self, place: Place, count: int) -> Entry:
        assert self.workspace is not None  # noqa: S101 - the sidebar exists only in a workspace
        url = reverse(f"pages:{place.page}", args=[self.workspace.key])
        path = self.request.path
        is_current = path == url if place.page == "home" else path.startswith(url)
        return Entry(place.name, url, place.icon, place.key, count, place.is_mine, is_current)
