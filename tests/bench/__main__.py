"""`python -m tests.bench [name…]`: measure everything, or the subjects named."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import tests.bench
from tests.bench import rows


def main() -> int:
    subjects = [
        module.name
        for module in pkgutil.iter_modules(tests.bench.__path__)
        if module.name != "__main__"
        and hasattr(importlib.import_module(f"tests.bench.{module.name}"), "measure")
    ]
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("subjects", nargs="*", help=f"of: {', '.join(subjects)}")
    chosen = parser.parse_args().subjects or subjects
    unknown = sorted(set(chosen) - set(subjects))
    if unknown:
        parser.error(f"no such subject: {', '.join(unknown)}")
    for name in chosen:
        measured = importlib.import_module(f"tests.bench.{name}").measure()
        target = rows.write(name, measured)
        sys.stdout.write(f"{name} ({target})\n")
        sys.stdout.writelines(f"{rows.line(row)}\n" for row in measured)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
