"""A management command in the environment of this clone's installation, with its secrets.

    .venv/bin/python -m controlplane.local.manage ledger_verify

Outside a clone that runs by `make demo`, `manage.py` is called directly with DATABASE_URL set.
"""

from __future__ import annotations

import os
import sys

from controlplane.local.home import Home
from controlplane.local.installation import Installation
from controlplane.local.variables import Ports


def main() -> None:
    """Become `manage.py` with the arguments given to us; its exit status is ours."""
    ports = Ports(
        web=int(os.environ.get("PORT") or 8000), gateway=int(os.environ.get("GATEWAY_PORT") or 8100)
    )
    installation = Installation(Home(), ports)
    os.chdir(installation.home.clone)
    os.execve(  # noqa: S606 - becoming the command is the purpose
        sys.executable,
        [sys.executable, "manage.py", *sys.argv[1:]],
        installation.environment(tuple(installation.secret_variables())),
    )


if __name__ == "__main__":
    main()
