"""What people say when they steer a rollout."""

from __future__ import annotations

from django import forms

from frontend.forms.base import PageForm

REASONS = (
    ("Customers are affected.", "Customers are affected"),
    ("A guard looks wrong to me.", "A guard looks wrong to me"),
    ("Asked for by the incident commander.", "Asked for by the incident commander"),
    ("Planned by the owner.", "Planned by the owner"),
)


class GoBackForm(PageForm):
    """One click is enough: a reason is chosen already, and words may be added."""

    reason = forms.ChoiceField(label="Reason", choices=REASONS)
    seen = forms.CharField(
        label="What did you see?",
        required=False,
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def sentence(self) -> str:
        """Return the reason as the ledger keeps it."""
        return f"{self.cleaned_data['reason']} {self.cleaned_data['seen']}".strip()


class StepForm(PageForm):
    """Advance: the step that the person saw, so that two clicks do not skip one."""

    step = forms.IntegerField(widget=forms.HiddenInput, min_value=0)


class PauseForm(PageForm):
    reason = forms.CharField(
        label="Reason", required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2})
    )
