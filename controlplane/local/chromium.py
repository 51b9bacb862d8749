"""Whether the browser tests can run here, with the line that says what to install if not."""

from __future__ import annotations

import shutil
import sys


def path() -> str | None:
    """Return Debian's Chromium."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def main() -> int:
    if path() is None:
        sys.stderr.write("The browser tests need Chromium: apt-get install chromium\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
