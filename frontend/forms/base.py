"""Forms in our markup: one class on inputs, errors in sentences."""

from __future__ import annotations

from typing import Any

from django import forms


class PageForm(forms.Form):
    """A form whose fields carry our classes; templates draw it with `c/field.html`."""

    use_required_attribute = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = field.label or name.replace("_", " ").capitalize()
            field.error_messages["required"] = f"Fill in: {str(field.label).lower()}."
            is_checkbox = isinstance(field.widget, forms.CheckboxInput)
            field.is_checkbox = is_checkbox  # type: ignore[attr-defined]
            if not is_checkbox:
                field.widget.attrs.setdefault("class", "in")

    def add_refusal(self, sentence: str, fields: dict[str, list[str]] | None = None) -> None:
        """Show a refusal of the service where it belongs: at its field, or above the form."""
        for name, sentences in (fields or {}).items():
            for text in sentences:
                self.add_error(name if name in self.fields else None, text)
        if not fields:
            self.add_error(None, sentence)
