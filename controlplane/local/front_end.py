"""The few files that pages need from the front-end packages, placed among our static files."""

from __future__ import annotations

import shutil
from pathlib import Path

from frontend import icons

CLONE = Path(__file__).resolve().parents[2]
NODE_MODULES = CLONE / "node_modules"
VENDOR = CLONE / "frontend" / "static" / "vendor"
_FILES = {
    "@fontsource-variable/ibm-plex-sans/files": ("ibm-plex-sans-latin-wght-normal.woff2",),
    "@fontsource/ibm-plex-mono/files": (
        "ibm-plex-mono-latin-400-normal.woff2",
        "ibm-plex-mono-latin-500-normal.woff2",
    ),
    "plotly.js-basic-dist-min": ("plotly-basic.min.js",),
}
_ICONS = "icons.svg"


def place() -> None:
    """Copy the fonts and charts, and draw the sprite of the icons that the pages use."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for folder, names in _FILES.items():
        for name in names:
            shutil.copyfile(NODE_MODULES / folder / name, VENDOR / name)
    icons.build(NODE_MODULES / "lucide-static", VENDOR / _ICONS)


def is_placed() -> bool:
    """Whether all of them are there."""
    names = [name for names in _FILES.values() for name in names]
    return all((VENDOR / name).exists() for name in [*names, _ICONS])


if __name__ == "__main__":
    place()
