"""The pictures: what they draw, and that the content policy lets them through."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.utils.safestring import SafeString

from frontend import icons, svg

ALL = [
    svg.sparkline([1, 3, 2], label="rises"),
    svg.interval(0.01, low=-0.01, high=0.03, label="x", reference=0.0, limit=-0.02, tone="ok"),
    svg.segments(["done", "now", "next", "failed"]),
    svg.step_progress(0.4),
    svg.line_chart(
        [svg.Line("candidate", [(0, 1), (1, 2)], band=[(0, 0.5, 1.5), (1, 1.5, 2.5)], dots=True)],
        label="x",
        y_words=str,
        limit=3,
        limit_words="too much",
        marks=[svg.Mark(0.5, "5%")],
    ),
]


@pytest.mark.parametrize("picture", ALL)
def test_no_picture_carries_an_inline_style_or_script(picture: SafeString) -> None:
    assert "style=" not in picture
    assert "<script" not in picture
    assert isinstance(picture, SafeString)


def test_a_sparkline_ends_with_a_dot_at_its_last_value() -> None:
    assert svg.sparkline([0, 10, 5], label="peaks") == (
        '<svg class="spark" viewBox="0 0 88 20" role="img" aria-label="peaks">'
        '<path class="cand" d="M2 17L43 3L84 10"/><circle cx="84" cy="10" r="2"/></svg>'
    )


def test_one_value_makes_no_line() -> None:
    assert svg.sparkline([1], label="x") == ""


def test_an_interval_puts_better_on_the_right_and_shades_from_the_limit() -> None:
    assert svg.interval(
        0.02, low=0.01, high=0.04, label="gain", reference=0.0, limit=-0.04, tone="ok"
    ) == (
        '<svg class="iv ch" viewBox="0 0 176 20" role="img" aria-label="gain">'
        '<rect class="zone-bad" x="0" y="2" width="15" height="16"/>'
        '<path class="lim" d="M15 1V19"/><path class="zero" d="M88 2V18"/>'
        '<path class="s-ok" stroke-width="2" d="M106.2 10H161"/>'
        '<circle class="f-ok" cx="124.5" cy="10" r="3.5"/></svg>'
    )


def test_an_error_that_falls_is_drawn_to_the_right() -> None:
    better = svg.interval(
        -0.5, low=-1.0, high=-0.2, label="x", reference=0.0, higher_is_better=False
    )
    assert 'd="M102.6 10H161"' in better


def test_a_label_is_escaped() -> None:
    assert "&lt;b&gt;" in svg.sparkline([1, 2], label="<b>")


def test_steps_say_done_now_next_and_failed_by_class() -> None:
    assert svg.segments(["done", "now", "next", "failed"]) == (
        '<div class="seg" aria-hidden="true">'
        '<i class="d"></i><i class="n"></i><i class=""></i><i class="x"></i></div>'
    )


@pytest.mark.parametrize(("share", "width"), [(-1, "0"), (0.25, "25"), (7, "100")])
def test_progress_stays_within_its_bar(share: float, width: str) -> None:
    assert f'width="{width}"' in svg.step_progress(share)


def test_a_chart_without_points_draws_nothing() -> None:
    assert svg.line_chart([], label="x", y_words=str) == ""


def test_a_chart_keeps_its_limit_in_view_with_words() -> None:
    picture = svg.line_chart(
        [svg.Line("candidate", [(0, 1.0), (10, 2.0)])],
        label="errors",
        y_words=lambda y: f"{y:g}%",
        limit=20.0,
        limit_words="rolls back above 20%",
        from_zero=True,
    )
    assert "rolls back above 20%" in picture
    assert ">20%</text>" in picture
    assert ">0%</text>" in picture


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.5, 1]),
        (0.81, 0.86, [0.8, 0.82, 0.84, 0.86]),
        (3, 3, [2.8, 2.9, 3.0, 3.1, 3.2]),
        (0, 0, [0, 0.5, 1]),
    ],
)
def test_ticks_are_round_numbers_that_cover_the_range(
    low: float, high: float, ticks: list[float]
) -> None:
    assert svg.nice_ticks(low, high) == pytest.approx(ticks)


def test_a_chart_of_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        svg.nice_ticks(0, float("nan"))


def test_the_sprite_holds_every_symbol_without_the_packages_own_markup(tmp_path: Path) -> None:
    (tmp_path / "icons").mkdir()
    for picture in set(icons.SYMBOLS.values()):
        (tmp_path / "icons" / f"{picture}.svg").write_text(
            '<!-- licence --><svg class="lucide" width="24">\n  <path d="M1 1" />\n</svg>'
        )
    target = tmp_path / "static" / "icons.svg"
    icons.build(tmp_path, target)
    sprite = target.read_text()
    assert sprite.count("<symbol ") == len(icons.SYMBOLS)
    assert '<symbol id="i-seal" viewBox="0 0 24 24"><path d="M1 1" /></symbol>' in sprite
    assert "licence" not in sprite
    assert "lucide" not in sprite


def test_a_picture_that_the_package_lost_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        icons.build(tmp_path, tmp_path / "icons.svg")
