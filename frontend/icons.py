"""One sprite of the icons that the pages use, made at set-up from Lucide's single files.

A page names an icon by what it means here (`i-seal`), not by what it pictures (`stamp`), so that a
picture can change in one place. Pages refer to symbols with `<use>`: about 60 bytes each.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SYMBOLS: dict[str, str] = {
    "ab": "flask-conical",
    "access": "users",
    "alert": "bell",
    "audit": "scroll-text",
    "bad": "circle-x",
    "bot": "bot",
    "check": "check",
    "clock": "clock",
    "copy": "copy",
    "data": "database",
    "dn": "chevron-down",
    "down": "download",
    "drift": "chart-spline",
    "ext": "external-link",
    "eye": "eye",
    "filter": "list-filter",
    "flag": "flag",
    "fwd": "fast-forward",
    "home": "house",
    "info": "info",
    "key": "key-round",
    "lineage": "workflow",
    "link": "link",
    "lock": "lock",
    "menu": "menu",
    "models": "box",
    "more": "ellipsis",
    "msg": "message-square",
    "off": "wifi-off",
    "ok": "circle-check",
    "out": "log-out",
    "pause": "pause",
    "play": "play",
    "plus": "plus",
    "print": "printer",
    "queue": "cpu",
    "refresh": "refresh-cw",
    "report": "file-check",
    "reviews": "git-pull-request-arrow",
    "rollout": "rocket",
    "run": "loader-circle",
    "runs": "activity",
    "seal": "stamp",
    "search": "search",
    "server": "server",
    "shield": "shield-check",
    "skip": "circle-slash",
    "star": "star",
    "stop": "octagon-x",
    "sun": "sun-moon",
    "table": "table-2",
    "undo": "undo-2",
    "user": "user-round",
    "wait": "circle-dashed",
    "warn": "triangle-alert",
    "x": "x",
}

_SVG = re.compile(r"<svg[^>]*>(?P<body>.*)</svg>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def build(lucide_dir: Path, target: Path) -> None:
    """Write the sprite to `target`; `lucide_dir` is the folder of the npm package `lucide-static`.

    Raises:
        FileNotFoundError: the package holds no picture of that name.
        ValueError: a file is not an SVG.
    """
    symbols = [
        _symbol(name, lucide_dir / "icons" / f"{picture}.svg")
        for name, picture in sorted(SYMBOLS.items())
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg">' + "".join(symbols) + "</svg>\n",
        encoding="utf-8",
    )


def _symbol(name: str, picture: Path) -> str:
    found = _SVG.search(_COMMENT.sub("", picture.read_text(encoding="utf-8")))
    if found is None:
        raise ValueError(f"{picture.name} is not an SVG.")
    body = re.sub(r">\s+<", "><", found["body"].strip())
    return f'<symbol id="i-{name}" viewBox="0 0 24 24">{body}</symbol>'


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
