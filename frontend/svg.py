"""Static pictures as SVG text: sparklines, intervals, step bars and line charts.

Colours come from classes in app.css, geometry from attributes: the pages' content policy refuses
`style=`. Every picture carries its reading as a label, because a drawing alone says nothing to a
screen reader. Right is better on every interval, whatever the metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

Role = Literal["candidate", "champion"]
Tone = Literal["ok", "warn", "bad", "ink"]
StepState = Literal["done", "now", "next", "failed"]

_CLASS_OF_ROLE: dict[Role, str] = {"candidate": "cand", "champion": "champ"}
_CLASS_OF_STEP: dict[StepState, str] = {"done": "d", "now": "n", "next": "", "failed": "x"}


@dataclass(frozen=True)
class Line:
    """One series of a chart; points are (x, y) in the units of the axes, in order of x."""

    role: Role
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = field(default_factory=tuple)
    dots: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line with words, such as the moment at which a step began."""

    x: float
    words: str


def sparkline(values: Sequence[float], *, label: str, role: Role = "candidate") -> SafeString:
    """Draw values from left to right on their own scale; fewer than two values draw nothing."""
    if len(values) < 2:
        return SafeString("")
    width, height, pad = 88.0, 20.0, 3.0
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = [
        (
            2 + (width - 6) * n / (len(values) - 1),
            height - pad - (height - 2 * pad) * (value - low) / span,
        )
        for n, value in enumerate(values)
    ]
    last_x, last_y = points[-1]
    return format_html(
        '<svg class="spark" viewBox="0 0 88 20" role="img" aria-label="{}">'
        '<path class="{}" d="{}"/><circle cx="{}" cy="{}" r="2"/></svg>',
        label,
        _CLASS_OF_ROLE[role],
        _path(points),
        _n(last_x),
        _n(last_y),
    )


def interval(
    value: float,
    *,
    low: float,
    high: float,
    label: str,
    reference: float | None = None,
    limit: float | None = None,
    higher_is_better: bool = True,
    tone: Tone = "ink",
) -> SafeString:
    """Draw an estimate with its interval: worse to the left, better to the right.

    `reference` is the vertical line that stands for "as now" (0 for a difference). From `limit`
    to the left the strip is shaded: an interval that reaches the shade may break the limit. All
    numbers are in the unit of the metric.
    """
    sign = 1.0 if higher_is_better else -1.0
    known = [x for x in (value, low, high, limit, reference) if x is not None]
    centre = reference if reference is not None else (min(known) + max(known)) / 2
    reach = max(abs(x - centre) for x in known) or 1.0

    def at(x: float) -> float:
        return 88 + sign * 73 * (x - centre) / reach

    parts: list[SafeString] = []
    if limit is not None:
        x = at(limit)
        parts.append(
            format_html(
                '<rect class="zone-bad" x="0" y="2" width="{}" height="16"/>'
                '<path class="lim" d="M{} 1V19"/>',
                _n(x),
                _n(x),
            )
        )
    if reference is not None:
        parts.append(format_html('<path class="zero" d="M{} 2V18"/>', _n(at(reference))))
    ends = sorted((at(low), at(high)))
    parts.append(
        format_html(
            '<path class="s-{}" stroke-width="2" d="M{} 10H{}"/>'
            '<circle class="f-{}" cx="{}" cy="10" r="3.5"/>',
            tone,
            _n(ends[0]),
            _n(ends[1]),
            tone,
            _n(at(value)),
        )
    )
    return format_html(
        '<svg class="iv ch" viewBox="0 0 176 20" role="img" aria-label="{}">{}</svg>',
        label,
        _join(parts),
    )


def segments(states: Sequence[StepState]) -> SafeString:
    """Draw one bar per step. Decoration: the words beside it must say the same."""
    return format_html(
        '<div class="seg" aria-hidden="true">{}</div>',
        format_html_join("", '<i class="{}"></i>', ((_CLASS_OF_STEP[s],) for s in states)),
    )


def step_progress(share: float) -> SafeString:
    """Draw how much of a step's hold has passed; `share` is between 0 and 1."""
    width = _n(100 * min(1.0, max(0.0, share)))
    return format_html(
        '<svg class="bar" preserveAspectRatio="none" viewBox="0 0 100 4" aria-hidden="true">'
        '<rect width="{}" height="4"/></svg>',
        width,
    )


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    y_words: Callable[[float], str],
    x_words: Sequence[tuple[float, str]] = (),
    limit: float | None = None,
    limit_words: str = "",
    marks: Sequence[Mark] = (),
    from_zero: bool = False,
    width: int = 440,
    height: int = 150,
) -> SafeString:
    """Draw up to three series with a shared axis; `limit` is a dotted line with words.

    Rates start at zero (`from_zero`), scores are fitted to their range. No points, no picture.
    """
    xs = [x for line in lines for x, _ in line.points]
    if not xs:
        return SafeString("")
    ys = [y for line in lines for _, y in line.points]
    ys += [y for line in lines for _, low, high in line.band for y in (low, high)]
    if limit is not None:
        ys.append(limit)
    if from_zero:
        ys.append(0.0)
    ticks = nice_ticks(min(ys), max(ys))
    y_low, y_high = min([*ticks, *ys]), max([*ticks, *ys])
    x_low, x_high = min(xs), max(xs)
    gutter = 14 + 6.2 * max(len(y_words(t)) for t in ticks)
    left, right, top, bottom = gutter, width - 10.0, 12.0, height - 24.0

    def px(x: float) -> float:
        return left + (right - left) * (x - x_low) / ((x_high - x_low) or 1.0)

    def py(y: float) -> float:
        return bottom - (bottom - top) * (y - y_low) / ((y_high - y_low) or 1.0)

    parts = [
        format_html(
            '<path class="g" d="M{} {}H{}"/><text class="end" x="{}" y="{}">{}</text>',
            _n(left),
            _n(py(t)),
            _n(right),
            _n(left - 6),
            _n(py(t) + 3.5),
            y_words(t),
        )
        for t in ticks
    ]
    for x, words in x_words:
        anchor = "end" if px(x) > right - 20 else "mid" if px(x) > left + 16 else "start"
        parts.append(
            format_html(
                '<text class="{}" x="{}" y="{}">{}</text>', anchor, _n(px(x)), height - 5, words
            )
        )
    for mark in marks:
        if not x_low <= mark.x <= x_high:
            continue
        # Near the right edge the words stand before their line, so that none are cut off.
        is_late = px(mark.x) > right - 60
        parts.append(
            format_html(
                '<path class="ax" stroke-dasharray="1 3" d="M{} {}V{}"/>'
                '<text class="{}" x="{}" y="{}">{}</text>',
                _n(px(mark.x)),
                _n(top),
                _n(bottom),
                "end" if is_late else "start",
                _n(px(mark.x) + (-4 if is_late else 4)),
                _n(bottom - 5),
                mark.words,
            )
        )
    if limit is not None:
        parts.append(
            format_html(
                '<path class="lim" d="M{} {}H{}"/><text class="lim-t end" x="{}" y="{}">{}</text>',
                _n(left),
                _n(py(limit)),
                _n(right),
                _n(right),
                _n(py(limit) - 4),
                limit_words,
            )
        )
    for line in lines:
        parts.extend(_series(line, px, py))
    return format_html(
        '<svg class="ch" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        width,
        height,
        label,
        _join(parts),
    )


def nice_ticks(low: float, high: float, *, about: int = 4) -> list[float]:
    """Return round numbers that cover a range, in steps of 1, 2 or 5 times a power of ten."""
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("A chart needs finite numbers.")
    if high <= low:
        # One value alone stands in the middle, nothing at all at the bottom.
        pad = abs(low) * 0.05
        low, high = (low - pad, high + pad) if pad else (0.0, 1.0)
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _series(
    line: Line, px: Callable[[float], float], py: Callable[[float], float]
) -> list[SafeString]:
    name = _CLASS_OF_ROLE[line.role]
    parts: list[SafeString] = []
    if line.band:
        outline = [(px(x), py(high)) for x, _, high in line.band]
        outline += [(px(x), py(low)) for x, low, _ in reversed(line.band)]
        parts.append(
            format_html(
                '<path class="{}" d="{}Z"/>',
                "b" if line.role == "candidate" else "b-champ",
                _path(outline),
            )
        )
    points = [(px(x), py(y)) for x, y in line.points]
    if len(points) > 1:
        parts.append(format_html('<path class="l {}" d="{}"/>', name, _path(points)))
    if line.dots or len(points) == 1:
        parts += [
            format_html('<circle class="f-{}" cx="{}" cy="{}" r="2.75"/>', name, _n(x), _n(y))
            for x, y in points
        ]
    return parts


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _n(number: float) -> str:
    """One decimal is a tenth of a pixel; a bare integer saves the point."""
    text = f"{number:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def _join(parts: Sequence[SafeString]) -> SafeString:
    return mark_safe("".join(parts))  # noqa: S308 - every part was made by format_html
