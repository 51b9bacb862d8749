"""The routing table: a snapshot made ready for looking up, replaced as a whole.

A request takes the table once and keeps it to its end, so a switch never changes a request that
is on its way, and there is no moment in which half of a table is in force.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deployments import assignment, snapshot
from deployments.gateway.errors import Refusal
from deployments.gateway.signature import Validator
from deployments.gateway.workers import Pool

log = logging.getLogger("gatehouse.gateway")

# How long a switch waits for a worker that the agent calls ready; a rollback never needs it.
WORKER_WAIT_SECONDS = 2.0
DRAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LiveArm:
    spec: snapshot.Arm
    pool: Pool


@dataclass(frozen=True, slots=True)
class Token:
    spec: snapshot.TokenGrant
    expires_at: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The arm of a request and how it came to it; ``bucket`` is None for a forced arm."""

    arm: LiveArm
    assignment: str
    bucket: int | None


class LiveDeployment:
    """One deployment of the table in force."""

    def __init__(self, spec: snapshot.Deployment, pools: Mapping[str, Pool]) -> None:
        self.spec = spec
        self.arms = tuple(LiveArm(arm, pools[arm.worker_key]) for arm in spec.arms)
        self.owners = assignment.expand(spec.owners) if spec.arms else ()
        self.validator = Validator(spec.signature)
        self.is_split = len(set(self.owners)) > 1

    @property
    def stable(self) -> LiveArm | None:
        return self.named("stable")

    def named(self, name: str) -> LiveArm | None:
        return next((arm for arm in self.arms if arm.spec.arm == name), None)

    def choose(self, unit: str | None, chance: str, forced: str | None) -> Choice:
        """Return the arm for a unit, for a request without one (by ``chance``), or the forced one.

        Raises:
            Refusal: 503 without a live version, 400 when a unit is needed or an arm unknown.
        """
        if not self.arms:
            raise Refusal(
                503,
                f"Deployment {self.spec.name} has no live version. "
                "Promote one to this environment, then ask again.",
                code="NO_LIVE_VERSION",
                retry_after=30,
            )
        if forced is not None:
            arm = self.named(forced)
            if arm is None:
                names = " and ".join(arm.spec.arm for arm in self.arms)
                raise Refusal(400, f"There is no arm {forced[:40]!r} now; there is {names}.")
            return Choice(arm, "forced", None)
        if unit is None and self.spec.unit_required:
            raise Refusal(
                400, "This deployment needs to know who asks: send the header Gatehouse-Unit."
            )
        place = assignment.bucket(self.spec.salt, unit or chance)
        arm = self.arms[self.owners[place]]
        if not self.is_split:
            return Choice(arm, "single", place if unit else None)
        return Choice(arm, "sticky" if unit else "random", place)


class Table:
    """Everything in force at one moment."""

    def __init__(self, source: snapshot.Snapshot, pools: Mapping[str, Pool]) -> None:
        self.source = source
        self.pools = pools
        self.deployments = {d.name: LiveDeployment(d, pools) for d in source.deployments}
        self._tokens = {grant.sha256: Token(grant, _expiry(grant)) for grant in source.tokens}

    @property
    def order(self) -> tuple[int, int]:
        return self.source.order

    def token(self, authorization: str, *, now: float) -> snapshot.TokenGrant:
        """Return the grant of an Authorization header.

        Raises:
            Refusal: 401 with a sentence when there is none, it is unknown or has expired.
        """
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Refusal(401, "Send a prediction token: Authorization: Bearer gh_predict_….")
        found = self._tokens.get(hashlib.sha256(secret.strip().encode()).hexdigest())
        if found is None:
            raise Refusal(401, "This token is unknown here; it may have been revoked.")
        if found.expires_at <= now:
            raise Refusal(401, "This token has expired; ask for a new one.")
        return found.spec

    def deployment(self, name: str, grant: snapshot.TokenGrant, *, scope: str) -> LiveDeployment:
        """Return the deployment that the token may use.

        Raises:
            Refusal: 404 when there is none in the token's workspace (another workspace's is not
                told apart from none), 403 when the token does not cover it.
        """
        found = self.deployments.get(name)
        if found is None or found.spec.workspace_id != grant.workspace_id:
            raise Refusal(404, f"There is no deployment {name[:80]!r}.")
        if "*" not in grant.deployments and name not in grant.deployments:
            raise Refusal(403, f"This token is not for deployment {name}.")
        if scope not in grant.scopes:
            raise Refusal(403, f"This token lacks the scope {scope}.")
        return found


def pseudonym(key: bytes, unit: str) -> str:
    """Return what stands for a unit in captured records."""
    return hmac.new(key, unit.encode(), hashlib.sha256).hexdigest()[:32]


def _expiry(grant: snapshot.TokenGrant) -> float:
    if grant.expires_at is None:
        return float("inf")
    expires = datetime.fromisoformat(grant.expires_at)
    return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)).timestamp()


class Router:
    """Holds the table in force and the pools that outlive it."""

    def __init__(self) -> None:
        self.table: Table | None = None
        self._pools: dict[str, Pool] = {}
        self._sockets: dict[str, list[Path]] = {}
        self._applying = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def apply(self, source: snapshot.Snapshot, sockets: Mapping[str, list[str]]) -> bool:
        """Put the snapshot into force and return True, or return False if it is not newer.

        When it returns, every request that starts is answered by the new table.
        """
        async with self._applying:
            if self.table is not None and source.order <= self.table.order:
                self.use_sockets(sockets)
                return False
            pools = self._pools_for(source)
            self._pools = {**self._pools, **pools}
            self.use_sockets(sockets)
            serving = {
                arm.worker_key
                for deployment in source.deployments
                for arm in deployment.arms
                if arm.share_basis_points > 0
            }
            await asyncio.gather(*(pools[key].wait_up(WORKER_WAIT_SECONDS) for key in serving))
            self.table = Table(source, pools)
            for key in [key for key in self._pools if key not in pools]:
                self._close_later(self._pools.pop(key))
            log.info("table_applied epoch=%s revision=%s", *source.order)
            return True

    def use_sockets(self, sockets: Mapping[str, list[str]]) -> None:
        """Connect to where the workers are now."""
        self._sockets = {key: [Path(path) for path in paths] for key, paths in sockets.items()}
        for key, pool in self._pools.items():
            pool.use(self._sockets.get(key, []))

    def is_ready(self) -> bool:
        """Return whether a table is in force and every live deployment can answer."""
        return self.table is not None and all(
            deployment.stable is not None and deployment.stable.pool.is_up
            for deployment in self.table.deployments.values()
            if deployment.arms
        )

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        for task in self._closing:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _pools_for(self, source: snapshot.Snapshot) -> dict[str, Pool]:
        limits: dict[str, tuple[int, int]] = {}
        for deployment in source.deployments:
            for arm in deployment.arms:
                deadline, rows = limits.get(arm.worker_key, (0, 0))
                limits[arm.worker_key] = (
                    max(deadline, deployment.deadline_ms),
                    max(rows, deployment.queue_rows),
                )
        pools = {}
        for worker in source.workers:
            deadline_ms, queue_rows = limits.get(worker.key, (1_000, 2_048))
            pool = self._pools.get(worker.key) or Pool(
                worker.key,
                label=f"{worker.model} version {worker.version}",
                max_rows=worker.max_rows,
            )
            pool.set_limits(deadline_ms=deadline_ms, queue_rows=queue_rows)
            pools[worker.key] = pool
        return pools

    def _close_later(self, pool: Pool) -> None:
        """Close the pool once requests that hold the old table have ended."""

        async def close() -> None:
            await asyncio.sleep(DRAIN_SECONDS)
            pool.close()

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
