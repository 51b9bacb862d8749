"""`python -m deployments.gateway`: one gateway process, until SIGTERM."""

import logging
import sys

import uvicorn

from deployments.gateway.app import Gateway
from deployments.gateway.settings import SettingMissing, Settings


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        settings = Settings.from_environment()
    except SettingMissing as error:
        sys.stderr.write(f"{error}\n")
        return 2
    uvicorn.run(
        Gateway(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_level="warning",
        backlog=2_048,
        timeout_graceful_shutdown=6,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
