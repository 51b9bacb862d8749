"""Gatehouse's processes: the one list behind the demo; Procfile and docker-compose repeat it."""

from __future__ import annotations

from dataclasses import dataclass

_CELERY = "python -m celery -A controlplane.celery worker --loglevel INFO --pool threads"
_SOLO = "--without-gossip --without-mingle --without-heartbeat"


@dataclass(frozen=True)
class Process:
    """One program that is kept running.

    ``variables`` are what it may know beyond the common ones: a process that has no business
    with a database role does not hold that role's password.
    """

    name: str
    command: str
    variables: tuple[str, ...] = ("DATABASE_URL", "REDIS_URL", "GATEHOUSE_SECRET_KEY")

    @property
    def arguments(self) -> list[str]:
        return self.command.split()


_DJANGO = Process("", "").variables

PROCESSES = (
    Process(
        "web",
        "python -m gunicorn -c controlplane/local/gunicorn.py controlplane.wsgi",
    ),
    Process(
        "worker-main",
        f"{_CELERY} --hostname main@%h --concurrency 4 {_SOLO} -Q default,promotion,evaluation,cpu",
    ),
    Process(
        "worker-compute",
        f"{_CELERY} --hostname compute@%h --concurrency 2 {_SOLO} -Q cpu,gpu,evaluation",
    ),
    Process("scheduler", "python manage.py scheduler"),
    Process("sealer", "python manage.py sealer", (*_DJANGO, "GATEHOUSE_SEALER_DATABASE_URL")),
    Process("agent", "python -m deployments.agent", ("GATEHOUSE_NODE_DATABASE_URL",)),
    Process("gateway", "python -m deployments.gateway", ()),
)
# Started before the others and with commands of their own.
SERVERS = ("postgres", "redis")
