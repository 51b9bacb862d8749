"""The people of the demo, each a caller of the REST interface with a token of their own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatehouse_cli.client import Client

from storybook.narrator import StoryError, tell


@dataclass(frozen=True)
class Person:
    """Somebody who acts: ``call`` is their way into Gatehouse, ``password`` their signature."""

    name: str
    password: str
    call: Client

    def says(self, sentence: str) -> None:
        tell(sentence, who=self.name)


@dataclass(frozen=True)
class Cast:
    """Everybody in the story, and the addresses of the portal and of the gateway."""

    url: str
    gateway_url: str
    engineer: Person
    approver: Person
    admin: Person
    ci: Person


def introduce() -> Cast:
    """Return the cast that the file named by ``GATEHOUSE_DEMO_JSON`` describes.

    Raises:
        StoryError: the variable or the file is missing, or somebody is not in it.
    """
    place = os.environ.get("GATEHOUSE_DEMO_JSON")
    if not place:
        raise StoryError("GATEHOUSE_DEMO_JSON must name the demo's file of people and tokens.")
    try:
        demo: dict[str, Any] = json.loads(Path(place).read_text())
    except (OSError, ValueError) as error:
        raise StoryError(f"{place} cannot be read: {error}") from error
    known = {person["username"]: person for person in demo["people"]}

    def person(name: str) -> Person:
        if name not in known:
            raise StoryError(f"{place} names nobody called {name}.")
        entry = known[name]
        return Person(name, entry.get("password") or "", Client(demo["url"], entry["token"]))

    return Cast(
        url=demo["url"],
        gateway_url=demo["gateway_url"],
        engineer=person("engineer"),
        approver=person("approver"),
        admin=person("admin"),
        ci=person("ci"),
    )
