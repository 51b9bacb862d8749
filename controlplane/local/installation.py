"""One local installation: its servers, the environment of its processes, its schemas."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from controlplane.database.roles import APP, LOGIN_ROLES, roles_sql
from controlplane.local import secret_values, variables
from controlplane.local.errors import SetupError
from controlplane.local.home import Home
from controlplane.local.postgres import EmbeddedPostgres
from controlplane.local.processes import PROCESSES, Process
from controlplane.local.redis_server import EmbeddedRedis
from controlplane.local.secret_values import Secrets
from controlplane.local.supervision import Program, last_line, process_command

_DATABASE = "gatehouse"
_SCHEMA_VARIABLES = (*Process("", "").variables, "GATEHOUSE_MIGRATE_DATABASE_URL")


@dataclass(frozen=True)
class Installation:
    """What runs from one clone; servers that the shell's variables name are not embedded."""

    home: Home
    ports: variables.Ports

    @cached_property
    def secrets(self) -> Secrets:
        return secret_values.load_or_make(self.home.secrets_file)

    @cached_property
    def postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(
            data=self.home.folder / "postgres",
            socket_dir=self.home.sockets / "pg",
            password=self.secrets.superuser_password,
        )

    @cached_property
    def redis(self) -> EmbeddedRedis:
        return EmbeddedRedis(
            data=self.home.folder / "redis", socket=self.home.sockets / "redis" / "redis.sock"
        )

    @property
    def embeds_postgres(self) -> bool:
        return "DATABASE_URL" not in variables.given_by_shell()

    @property
    def embeds_redis(self) -> bool:
        return "REDIS_URL" not in variables.given_by_shell()

    @property
    def servers(self) -> list[str]:
        embedded = {"postgres": self.embeds_postgres, "redis": self.embeds_redis}
        return [name for name, is_embedded in embedded.items() if is_embedded]

    def secret_variables(self) -> dict[str, str]:
        """Return every secret value, the shell's before ours."""
        values = {"GATEHOUSE_SECRET_KEY": self.secrets.secret_key, "REDIS_URL": self.redis.url}
        if self.embeds_postgres:
            for role in LOGIN_ROLES:
                name = role.removeprefix("gh_").upper()
                key = "DATABASE_URL" if role == APP else f"GATEHOUSE_{name}_DATABASE_URL"
                values[key] = self.postgres.url(
                    _DATABASE, user=role, password=self.secrets.role_passwords[role]
                )
        return values | variables.given_by_shell()

    def environment(self, names: tuple[str, ...]) -> dict[str, str]:
        """Return the environment of a process that may know these secret values."""
        shared = variables.common(self.home, self.ports)
        return shared | variables.secret(self.secret_variables(), names)

    def initialise_servers(self) -> None:
        """Make the data folders of the embedded servers, unless they are there."""
        if self.embeds_postgres:
            self.postgres.initialise()
        if self.embeds_redis:
            self.redis.initialise()

    def wait_for_servers(self) -> None:
        """Return once the embedded servers answer and the roles are in the database."""
        if self.embeds_redis:
            self.redis.wait_until_ready()
        if self.embeds_postgres:
            self.postgres.wait_until_ready()
            self.postgres.make_database(
                _DATABASE, statements=roles_sql(passwords=self.secrets.role_passwords)
            )

    def programs(self) -> list[Program]:
        """Return everything the supervisor keeps running, servers first."""
        programs = []
        if self.embeds_postgres:
            # Both of its own stop signals: SIGINT ends its sessions and saves.
            command = self.postgres.command(death_signal=signal.SIGINT)
            programs.append(Program("postgres", command, priority=10, stop_signal="INT"))
        if self.embeds_redis:
            command = self.redis.command(death_signal=signal.SIGTERM)
            programs.append(Program("redis", command, priority=10))
        for process in PROCESSES:
            command = process_command(
                self.home, process.name, process.arguments, self.environment(process.variables)
            )
            programs.append(Program(process.name, command, priority=100))
        return programs

    def start_command(self, name: str, *arguments: str) -> Command:
        """Start a management command beside us."""
        log = self.home.log / f"{name}.log"
        with log.open("wb") as stream:
            child = subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=self.home.clone,
                env=self.environment(_SCHEMA_VARIABLES),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Command(name, log, child)

    @property
    def _stamp(self) -> Path:
        return self.home.run / "prepared"

    def is_prepared(self) -> bool:
        """Whether nothing that makes schemas or static files has changed since they were made."""
        if not self.embeds_postgres or not self._stamp.exists():
            return False
        return self._stamp.read_text() == self._digest_of_sources()

    def note_prepared(self) -> None:
        """Remember that schemas and static files are current."""
        self._stamp.write_text(self._digest_of_sources())

    def _digest_of_sources(self) -> str:
        """Return a digest of migrations, static files, locked packages and the database itself."""
        clone = self.home.clone
        files = [
            clone / "requirements" / "base.txt",
            *sorted(clone.glob("*/migrations/*")),
            *sorted(clone.glob("*/*/migrations/*")),
            *sorted(clone.glob("frontend/static/**/*")),
        ]
        digest = hashlib.sha256()
        # The control file starts with the number that initdb gave the cluster.
        with (self.postgres.data / "global" / "pg_control").open("rb") as control:
            digest.update(control.read(8))
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(clone)}\n".encode())
                digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Command:
    """A management command that is running."""

    name: str
    log: Path
    child: subprocess.Popen[bytes]

    def wait(self, *, timeout_seconds: float = 180) -> None:
        """Return when it has ended well.

        Raises:
            SetupError: it failed; the sentence carries its last line and its log.
        """
        try:
            code = self.child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise SetupError(
                f"{self.name} takes more than {timeout_seconds} s. Log: {self.log}"
            ) from None
        if code != 0:
            raise SetupError(f"{self.name} failed: {last_line(self.log)} Log: {self.log}")

    def stop(self) -> None:
        """End it if it still runs."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
