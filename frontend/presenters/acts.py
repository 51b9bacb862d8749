"""An act that a page offers: its button, the question it asks, and whether it may be done."""

from __future__ import annotations

from dataclasses import dataclass

from frontend.forms.base import PageForm


@dataclass(frozen=True)
class Act:
    """One button. `form` is what its dialog asks; the same form stands on the page `url`.

    An act that is not allowed is shown with the reason in words, or left out by the page.
    """

    name: str
    label: str
    url: str
    question: str = ""
    confirm: str = ""
    cancel: str = "Cancel"
    effect: str = ""
    back: str = ""
    form: PageForm | None = None
    is_dangerous: bool = False
    allowed: bool = True
    why_not: str = ""
    icon: str = ""
    style: str = ""

    @property
    def id(self) -> str:
        return f"act-{self.name.replace('_', '-')}"
