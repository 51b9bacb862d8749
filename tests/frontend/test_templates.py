"""What holds for every template and every static file of ours, and how things are said."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.http import HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone

from frontend import words
from frontend.icons import SYMBOLS
from frontend.middleware import POLICY, ContentSecurityPolicyMiddleware
from frontend.templatetags import ui

ROOM = Path(__file__).resolve().parents[2] / "frontend"
TEMPLATES = sorted((ROOM / "templates").rglob("*.html"))
CSS = (ROOM / "static" / "css" / "app.css").read_text()
SCRIPTS = [ROOM / "static" / "js" / name for name in ("app.js", "charts.js")]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOM)))
def test_a_template_holds_nothing_that_the_content_policy_refuses(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle\s*=", text)
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", text)
    assert "hx-on" not in text
    assert "javascript:" not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", text)
    assert "<style" not in text
    assert "|safe" not in text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOM)))
def test_a_template_compiles_and_names_only_icons_that_exist(path: Path) -> None:
    text = path.read_text()
    Template(text)
    named = re.findall(r"{% icon \"([\w-]+)\"", text) + re.findall(r"\bicon=\"([\w-]+)\"", text)
    assert set(named) <= set(SYMBOLS)


def test_every_look_of_a_state_uses_an_icon_that_exists() -> None:
    looks = [*words._LOOKS.values(), *words._LOOKS_OF_KIND.values()]
    assert {look.icon for look in looks if look.icon} <= set(SYMBOLS)


def test_styles_and_scripts_stay_within_their_budgets() -> None:
    assert len(gzip.compress(CSS.encode(), 9)) <= 12_000
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in SCRIPTS) <= 8_000


def test_responsive_rules_leave_paper_alone() -> None:
    queries = re.findall(r"@media ([^{]+)\{", CSS)
    assert all(q.startswith(("screen", "print", "(prefers-reduced-motion")) for q in queries)


def _token(name: str, theme: int) -> tuple[float, float, float]:
    found = re.search(rf"--{name}: light-dark\((#\w+), (#\w+)\);", CSS)
    assert found, name
    text = found[theme + 1].lstrip("#")
    text = "".join(2 * c for c in text) if len(text) == 3 else text
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def _contrast(ink: str, paper: str, theme: int) -> float:
    def light(name: str) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _token(name, theme)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(ink), light(paper)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        *[
            (ink, paper)
            for ink in ("ink", "ink-2", "ink-3")
            for paper in ("canvas", "surface", "sunken")
        ],
        *[
            (tone, paper)
            for tone in ("accent", "ok", "warn", "bad")
            for paper in ("canvas", "surface")
        ],
        *[(tone, f"{tone}-soft") for tone in ("accent", "ok", "warn", "bad")],
    ],
)
def test_text_has_enough_contrast(ink: str, paper: str, theme: int) -> None:
    assert _contrast(ink, paper, theme) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_borders_of_inputs_can_be_seen(theme: int) -> None:
    assert _contrast("ctl", "surface", theme) >= 3


def test_every_html_answer_carries_the_policy_and_is_kept_by_no_cache() -> None:
    def view(_: object) -> HttpResponse:
        return HttpResponse("<p>x</p>")

    response = ContentSecurityPolicyMiddleware(view)(RequestFactory().get("/"))
    assert response["Content-Security-Policy"] == POLICY
    assert response["Vary"] == "HX-Request, Cookie"
    assert response["Cache-Control"] == "no-store"
    assert "unsafe" not in POLICY


def test_a_page_with_a_policy_of_its_own_keeps_it() -> None:
    def view(_: object) -> HttpResponse:
        return HttpResponse("x", headers={"Content-Security-Policy": "default-src 'self'"})

    response = ContentSecurityPolicyMiddleware(view)(RequestFactory().get("/"))
    assert response["Content-Security-Policy"] == "default-src 'self'"


@pytest.mark.parametrize(
    ("value", "options", "said"),
    [
        (1234567, {}, "1,234,567"),
        (-0.0123, {"digits": 4}, "−0.0123"),
        (0.0123, {"digits": 4, "signed": True}, "+0.0123"),
        (-0.00001, {"digits": 2, "signed": True}, "0.00"),
        (3.14, {"digits": 1, "unit": "%"}, "3.1%"),
        (18.4, {"digits": 1, "unit": "ms"}, "18.4 ms"),
        (None, {}, "no data"),
    ],
)
def test_numbers_are_said_with_commas_and_a_true_minus(
    value: float | None, options: dict[str, object], said: str
) -> None:
    assert words.number(value, **options) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.041, "41 ms"),
        (41, "41 s"),
        (846, "14 min 6 s"),
        (2700, "45 min"),
        (11520, "3 h 12 min"),
        (162000, "1 d 21 h"),
        (172800, "2 d"),
        (0, "0 s"),
    ],
)
def test_durations_are_said_in_their_two_largest_units(seconds: float, said: str) -> None:
    assert words.duration(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_400_000, "2.4 MB")]
)
def test_sizes_are_said_in_decimal_units(value: int, said: str) -> None:
    assert words.size(value) == said


def test_today_is_said_as_a_time_and_earlier_days_as_a_date() -> None:
    now = timezone.localtime()
    today = now.replace(hour=9, minute=5, second=7)
    assert words.moment(today) == "09:05"
    assert words.moment(today, seconds=True) == "09:05:07"
    assert words.moment(datetime(2020, 3, 4, 5, 6, tzinfo=UTC)) == "04 Mar 2020"


def test_a_state_that_nobody_described_is_shown_as_its_name() -> None:
    assert words.look_of("half_open") == words.Look("half open")


def test_the_same_state_can_look_different_on_another_record() -> None:
    assert words.look_of("succeeded").text == "succeeded"
    assert words.look_of("succeeded", "rollout").text == "finished"


def test_an_entry_without_a_number_says_that_it_is_being_sealed() -> None:
    waiting = ui.seal(SimpleNamespace(url="/x/", number=None, short_hash=""))
    assert "being sealed" in waiting
    done = ui.seal(SimpleNamespace(url="/x/", number=18431, short_hash="9c41e07b"))
    assert "18,431" in done
    assert "9c41e07b" in done
    assert ui.seal(None) == ""


def test_an_icon_without_a_label_is_hidden_from_readers_and_one_with_a_label_is_not() -> None:
    assert 'aria-hidden="true"' in ui.icon("ok")
    assert '<span class="sr">within limit</span>' in ui.icon("ok", "ok", label="within limit")


def test_a_chip_escapes_what_it_is_given() -> None:
    assert "&lt;script&gt;" in ui.chip("<script>")


def test_a_changed_filter_keeps_the_rest_of_the_address() -> None:
    request = RequestFactory().get("/w/demo/models/", {"q": "digits", "page": "3"})
    template = Template('{% url_with view="live" page="" %}')
    said = template.render(Context({"request": request}))
    assert said == "?q=digits&amp;view=live"


def test_versions_are_said_by_semantic_version_once_there_is_one() -> None:
    assert ui.ver(SimpleNamespace(semantic_version=None, number=3)) == "v3"
    assert ui.ver(SimpleNamespace(semantic_version="1.5.0", number=3)) == "1.5.0"


def test_digests_are_shown_in_part_and_never_cut_silently() -> None:
    digest = "4be1c07d" + "0" * 48 + "118e63a9"
    assert ui.digest_short(digest) == "4be1c07d"
    assert ui.hash_short(digest) == "4be1…63a9"
    assert ui.digest_long(digest) == "sha256:4be1 c07d … 118e 63a9"


@pytest.mark.parametrize(
    ("name", "letters"), [("Ada Lovelace", "AL"), ("svc-ci", "SC"), ("ci", "C"), ("", "?")]
)
def test_initials_come_from_the_first_two_words(name: str, letters: str) -> None:
    assert ui.initials(name) == letters
