"""Tags that every template has (a builtin in settings): icons, chips, versions, numbers, times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.http import QueryDict
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from frontend import svg, words

register = template.Library()


@register.simple_tag
def icon(name: str, tone: str = "", small: bool = False, label: str = "") -> SafeString:
    """Show a symbol of the sprite; without a label it is decoration for the words beside it."""
    classes = " ".join(filter(None, ("i", "s" if small else "", tone)))
    picture = format_html(
        '<svg class="{}" aria-hidden="true"><use href="{}#i-{}"/></svg>',
        classes,
        static("vendor/icons.svg"),
        name,
    )
    if not label:
        return picture
    return format_html('{}<span class="sr">{}</span>', picture, label)


@register.simple_tag
def chip(text: str, tone: str = "", icon_name: str = "") -> SafeString:
    """Show a state in one or two words; the colour is the state, never decoration."""
    picture = icon(icon_name) if icon_name else SafeString("")
    return format_html('<span class="{}">{}{}</span>', f"chip {tone}".strip(), picture, text)


@register.simple_tag
def state(name: str, kind: str = "") -> SafeString:
    """Show the state of a record as a chip, in the same words and colour on every page."""
    look = words.look_of(name, kind)
    return chip(look.text, look.tone, look.icon)


@register.simple_tag
def state_icon(name: str, kind: str = "") -> SafeString:
    look = words.look_of(name, kind)
    return icon(look.icon or "wait", look.tone or "mute", label=look.text)


@register.simple_tag
def seal(entry: Any) -> SafeString:
    """Show the ledger entry that an act left as a link; before sealing it says so."""
    if entry is None:
        return SafeString("")
    if entry.number is None:
        return format_html('<a class="seal" href="{}">{}being sealed</a>', entry.url, icon("seal"))
    return format_html(
        '<a class="seal" href="{}" title="Ledger entry {}">{}{} <code>{}</code></a>',
        entry.url,
        num(entry.number),
        icon("seal"),
        num(entry.number),
        entry.short_hash,
    )


@register.simple_tag
def alias(name: str, role: str = "") -> SafeString:
    """Show an alias; `role` is "cand" for a candidate, "plain" for any other, "" for champion."""
    return format_html('<span class="{}">@{}</span>', f"alias {role}".strip(), name)


@register.simple_tag(takes_context=True)
def link(context: template.Context, name: str, *args: Any) -> str:
    """Return the address of a page inside the workspace that is being looked at."""
    return reverse(f"pages:{name}", args=[context["workspace"].key, *args])


@register.simple_tag(takes_context=True)
def url_with(context: template.Context, **changes: Any) -> str:
    """Return this page's address with some of its query changed; an empty value drops a key."""
    query: QueryDict = context["request"].GET.copy()
    for key, value in changes.items():
        if value in (None, ""):
            query.pop(key, None)
        else:
            query[key] = str(value)
    encoded = query.urlencode()
    return f"?{encoded}" if encoded else context["request"].path


@register.filter
def ver(version: Any) -> str:
    """Say a version as people do: its semantic version once computed, else `v` and its number."""
    return words.version_words(version)


@register.simple_tag
def spark(values: Sequence[float], label: str) -> SafeString:
    return svg.sparkline(values, label=label)


@register.simple_tag
def interval(row: Any) -> SafeString:
    """Draw a metric row: `estimate low high reference limit higher_is_better tone reading`."""
    return svg.interval(
        row.estimate,
        low=row.low,
        high=row.high,
        label=row.reading,
        reference=row.reference,
        limit=row.limit,
        higher_is_better=row.higher_is_better,
        tone=row.tone,
    )


@register.simple_tag
def steps_bar(states: Iterable[svg.StepState]) -> SafeString:
    return svg.segments(list(states))


@register.simple_tag
def step_progress(share: float) -> SafeString:
    return svg.step_progress(share)


@register.simple_tag
def num(value: float | int | None, digits: int = 0, unit: str = "", signed: bool = False) -> str:
    """Write a number with thousands commas and a true minus; None is said, not left blank."""
    return words.number(value, digits=digits, unit=unit, signed=signed)


@register.simple_tag
def plural(count: int, one: str, many: str = "") -> str:
    """Write "1 run", "3 runs", "no runs"."""
    return words.plural(count, one, many)


@register.filter
def size(value: int | None) -> str:
    return words.size(value)


@register.filter
def duration(value: timedelta | float | None) -> str:
    return words.duration(value)


@register.simple_tag
def ago(value: datetime | None, seconds: bool = False) -> SafeString:
    """Write a moment: time of day for today, date before; the full ISO time is in the markup."""
    if value is None:
        return SafeString("")
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(timespec="seconds"),
        f"{local:%d %b %Y %H:%M:%S %Z}",
        words.moment(local, seconds=seconds),
    )


@register.filter
def hash_short(value: str | None) -> str:
    return words.hash_short(value)


@register.filter
def digest_short(value: str | None) -> str:
    """Write the first eight characters of a digest: what a button and a signature show."""
    return (value or "")[:8]


@register.filter
def digest_long(value: str | None) -> str:
    """Write a digest in groups of four, both ends, as on the page of a signature."""
    text = value or ""
    return f"sha256:{text[:4]} {text[4:8]} … {text[-8:-4]} {text[-4:]}" if len(text) == 64 else text


@register.filter
def initials(name: str) -> str:
    parts = [part for part in name.replace("-", " ").replace(".", " ").split() if part]
    return "".join(part[0] for part in parts[:2]).upper() or "?"


@register.filter
def readable(word: str) -> str:
    """Write a name of the code as words: `roll_back` is "roll back"."""
    return word.replace("_", " ")
