"""What people write about a promotion."""

from __future__ import annotations

from typing import Any

from django import forms

from frontend.forms.base import PageForm
from registry.models import Environment, ModelVersion
from registry.rules import MINIMUM_TEXT

_TEXT = {"rows": 3}


class CommentForm(PageForm):
    text = forms.CharField(
        label="Comment",
        max_length=4000,
        widget=forms.Textarea(attrs={**_TEXT, "placeholder": "What convinced you, or is missing"}),
    )


class DecideForm(PageForm):
    """Request changes or reject: the digest that was read, and a reason that helps."""

    digest = forms.CharField(widget=forms.HiddenInput, min_length=64, max_length=64)
    text = forms.CharField(
        label="Reason",
        max_length=4000,
        help_text=f"At least {MINIMUM_TEXT} characters, so that the requester can act on it.",
        widget=forms.Textarea(attrs=_TEXT),
    )


class ReasonForm(PageForm):
    reason = forms.CharField(
        label="Reason", max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )


class SignForm(PageForm):
    """An approval: the digest that was read, what was noticed, and the password again."""

    digest = forms.CharField(widget=forms.HiddenInput, min_length=64, max_length=64)
    acknowledged = forms.MultipleChoiceField(
        label="I have seen", required=False, widget=forms.CheckboxSelectMultiple
    )
    comment = forms.CharField(
        label="Comment", max_length=4000, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    password = forms.CharField(
        label="Password",
        strip=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, points: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["acknowledged"].choices = points  # type: ignore[attr-defined]
        self.fields["acknowledged"].widget.attrs.pop("class", None)


class OpenForm(PageForm):
    """Ask for a version to go live somewhere."""

    version = forms.ModelChoiceField(
        label="Version", queryset=ModelVersion.objects.none(), empty_label="Choose a version"
    )
    environment = forms.ModelChoiceField(
        label="Environment", queryset=Environment.objects.none(), empty_label=None
    )
    strategy = forms.ChoiceField(
        label="How it goes in",
        required=False,
        choices=[("", "As the policy says"), ("canary", "Canary"), ("blue_green", "Blue-green")],
    )
    reason = forms.CharField(
        label="Why now", max_length=2000, required=False, widget=forms.Textarea(attrs=_TEXT)
    )
    link = forms.URLField(label="Ticket or change", required=False, assume_scheme="https")
