"""The embedded servers, one in the foreground: `python -m controlplane.local.serve postgres`.

For process managers that read the Procfile; `make demo` starts the same servers itself.
"""

from __future__ import annotations

import argparse
import os
import sys

from controlplane.local.errors import SetupError
from controlplane.local.home import Home
from controlplane.local.installation import Installation
from controlplane.local.processes import SERVERS
from controlplane.local.variables import Ports


def main() -> None:
    """Become the server; its data folder is made when it is not there."""
    parser = argparse.ArgumentParser(prog="serve")
    parser.add_argument("server", choices=SERVERS)
    server = parser.parse_args().server
    installation = Installation(Home(), Ports(8000, 8100))
    try:
        installation.home.prepare()
        chosen = installation.postgres if server == "postgres" else installation.redis
        chosen.initialise()
        command = chosen.command()
    except SetupError as error:
        sys.exit(str(error))
    os.execvp(command[0], command)  # noqa: S606 - becoming the server is the purpose


if __name__ == "__main__":
    main()
