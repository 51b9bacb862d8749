"""A metric over its steps: a picture while the run moves, a chart to look into afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.safestring import SafeString

from experiments.queries import Metric
from frontend import svg

Point = tuple[float, float]
MOST_POINTS = 1000


def points_of(history: Sequence[Metric]) -> list[Point]:
    """Return (step, value) in order, thinned to what a screen can show; empty for one step only.

    Values that MLflow keeps as "not a number" leave a gap of one step.
    """
    points = [(float(item.step), item.value) for item in history if item.value is not None]
    return thinned(points) if len({step for step, _ in points}) > 1 else []


def picture(key: str, points: Sequence[Point]) -> SafeString:
    if not points:
        return SafeString("")
    first, last = points[0][0], points[-1][0]
    return svg.line_chart(
        [svg.Line("candidate", points)],
        label=f"{key} from step {first:g} to {last:g}, now {points[-1][1]:.4g}",
        y_words=lambda y: f"{y:.3g}",
        x_words=[(first, f"{first:g}"), (last, f"step {last:g}")],
        height=170,
    )


def figure(key: str, points: Sequence[Point]) -> dict[str, Any]:
    """Return the chart as plain data for Plotly; colours and axes are the page's."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": key,
                "x": [step for step, _ in points],
                "y": [value for _, value in points],
                "meta": {"role": "candidate"},
            }
        ],
        "layout": {"xaxis": {"title": {"text": "step"}}},
    }


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` points with every peak kept: the least and greatest of each stretch."""
    if len(points) <= most:
        return list(points)
    stretches = most // 2
    kept: list[Point] = []
    for number in range(stretches):
        start = number * len(points) // stretches
        stretch = points[start : (number + 1) * len(points) // stretches]
        low, high = min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])
        kept += sorted({low, high})
    return kept
