"""A token of one's own."""

from __future__ import annotations

from datetime import timedelta

from django import forms

from controlplane.accounts.models import VERBS
from frontend.forms.base import PageForm

LIFETIMES = ((1, "1 day"), (7, "7 days"), (30, "30 days"), (90, "90 days"))
WHAT = (
    ("", "Everything you may do"),
    ("view", "Only view"),
    ("view contribute", "View and contribute"),
    ("view contribute propose", "View, contribute and propose"),
)


class TokenForm(PageForm):
    name = forms.CharField(
        label="Name", max_length=100, widget=forms.TextInput(attrs={"placeholder": "Laptop"})
    )
    days = forms.TypedChoiceField(label="Ends after", choices=LIFETIMES, coerce=int, initial=30)
    scopes = forms.ChoiceField(label="It may", choices=WHAT, required=False)

    @property
    def lifetime(self) -> timedelta:
        return timedelta(days=self.cleaned_data["days"])

    @property
    def verbs(self) -> list[str] | None:
        """Return what the token is narrowed to; None leaves it as wide as its owner."""
        chosen = self.cleaned_data["scopes"].split()
        return [verb for verb in VERBS if verb in chosen] or None
