"""What a promotion is about: the plain facts that every part of its page needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from django.urls import reverse

from controlplane.core import clock
from controlplane.core.actor import Actor
from frontend import words
from registry.models import ModelVersion, PromotionRequest
from registry.services import checks
from registry.services.checks import Deviation
from registry.states import PROMOTION

_DECIDABLE = frozenset({"checking", "blocked", "in_review", "changes_requested"})


@dataclass(frozen=True)
class Replaced:
    words: str
    url: str


@dataclass
class PromotionFacts:
    """One request as one reader sees it; `now` is held still while the page is made."""

    record: PromotionRequest
    actor: Actor
    workspace_key: str
    now: datetime = field(default_factory=clock.now)

    @property
    def number(self) -> int:
        return self.record.number

    @property
    def state(self) -> str:
        return str(self.record.state)

    @property
    def model_name(self) -> str:
        return self.record.model.name

    @property
    def version(self) -> str:
        return words.version_words(self.record.version)

    @property
    def environment(self) -> str:
        return self.record.environment.name.lower()

    @property
    def alias(self) -> str:
        return self.record.environment.guarded_alias

    @property
    def requester(self) -> str:
        return str(self.record.requester)

    @property
    def reason(self) -> str:
        return self.record.reason

    @property
    def opened_at(self) -> datetime:
        return self.record.created_at

    @property
    def risk_tier(self) -> str:
        return self.record.model.risk_tier

    @property
    def policy(self) -> str:
        return f"policy v{self.record.policy.number}"

    @property
    def digest(self) -> str:
        return self.record.subject_digest

    @property
    def manifest(self) -> str:
        return self.record.version.manifest_sha256

    @property
    def is_open(self) -> bool:
        return self.record.state not in PROMOTION.final

    @property
    def waiting(self) -> timedelta | None:
        if not self.is_decidable:
            return None
        return max(timedelta(seconds=1), self.now - self.record.created_at)

    @property
    def expires_in(self) -> timedelta | None:
        ends = self.record.approved_until if self.state == "approved" else self.record.expires_at
        if not self.is_open or self.state == "executing" or ends is None or ends <= self.now:
            return None
        return ends - self.now

    @property
    def is_decidable(self) -> bool:
        return self.state in _DECIDABLE

    @property
    def replaced(self) -> ModelVersion | None:
        return self.record.replaces

    @property
    def replaces(self) -> Replaced | None:
        if self.replaced is None:
            return None
        url = self._url("version", self.model_name, self.replaced.number)
        return Replaced(words.version_words(self.replaced), url)

    @property
    def candidate_head(self) -> str:
        return f"Candidate {self.version}"

    @property
    def champion_head(self) -> str:
        return f"Champion {words.version_words(self.replaced)}" if self.replaced else "Champion"

    @property
    def url(self) -> str:
        return self._url("promotion", self.number)

    @property
    def model_url(self) -> str:
        return self._url("model", self.model_name)

    @property
    def version_url(self) -> str:
        return self._url("version", self.model_name, self.record.version.number)

    @property
    def closed_because(self) -> str:
        return self.record.closed_because

    @property
    def closed_words(self) -> str:
        return f"This request was {words.look_of(self.state).text}."

    @property
    def closed_tone(self) -> str:
        return "bad" if self.state in {"rejected", "rolled_back"} else "warn"

    @property
    def closed_icon(self) -> str:
        return words.look_of(self.state).icon or "info"

    @cached_property
    def points(self) -> list[Deviation]:
        """What is out of the ordinary, the gravest first, at most five."""
        return checks.deviations(self.record)

    def act_url(self, name: str) -> str:
        return self._url("promotion_act", self.number, name)

    def _url(self, name: str, *args: object) -> str:
        return reverse(f"pages:{name}", args=[self.workspace_key, *args])
