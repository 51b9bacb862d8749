"""`python -m deployments.agent`: the agent of this node, until SIGTERM."""

import logging
import signal
import sys

from deployments.agent.agent import Agent
from deployments.agent.sandboxed import SandboxedLauncher
from deployments.agent.settings import SettingMissing, Settings


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        settings = Settings.from_environment()
    except SettingMissing as error:
        sys.stderr.write(f"{error}\n")
        return 2
    agent = Agent(settings, SandboxedLauncher(settings.environment_dir))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
