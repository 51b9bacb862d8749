"""The routing snapshot: everything a node needs to serve, as one JSON text with its SHA-256.

The control plane builds it with these records and stores the text; agents and gateways read it
back with the same code. Snapshots are ordered by (epoch, revision). Unknown keys are ignored, so
that an older node can read what a newer control plane writes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, TypeVar

from deployments import assignment

Item = TypeVar("Item")


class SnapshotInvalid(ValueError):
    """The text is not a snapshot, or not the one its digest was made from."""


@dataclass(frozen=True, slots=True)
class Column:
    """One input or output; ``type`` is MLflow's name (double, long, string, …)."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Tensor:
    """A signature without columns; the first number of the shape is -1, the rows."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives: columns, or one tensor when ``tensor`` is set."""

    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    tensor: Tensor | None = None

    @classmethod
    def from_mlflow(
        cls, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]] | None
    ) -> "Signature":
        """Return the signature of the two parsed JSON lists in an MLmodel file.

        Raises:
            SnapshotInvalid: the inputs mix columns and tensors, or hold several tensors.
        """
        tensors = [column for column in inputs if column.get("type") == "tensor"]
        if not tensors:
            return cls(inputs=_mlflow_columns(inputs), outputs=_mlflow_columns(outputs or []))
        if len(inputs) != 1:
            raise SnapshotInvalid("A signature with several tensors cannot be served yet.")
        spec = tensors[0]["tensor-spec"]
        return cls(
            outputs=_mlflow_columns(outputs or []),
            tensor=Tensor(dtype=spec["dtype"], shape=tuple(spec["shape"])),
        )


@dataclass(frozen=True, slots=True)
class Arm:
    """A version that takes part in a deployment; ``arm`` is ``stable`` or ``candidate``."""

    arm: str
    version_id: int
    version: int
    model: str
    worker_key: str
    share_basis_points: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """One address of the gateway. ``owners`` are runs ``(index into arms, buckets)``.

    Without arms nothing is live and every request is answered 503 with a sentence.
    """

    name: str
    id: int
    workspace_id: int
    workspace: str
    revision_id: int
    revision: int
    salt: str
    arms: tuple[Arm, ...]
    owners: tuple[tuple[int, int], ...]
    signature: Signature
    unit_required: bool = False
    failover_to_stable: bool = True
    deadline_ms: int = 1_000
    body_limit_bytes: int = 1_048_576
    row_limit: int = 1_000
    max_in_flight: int = 256
    queue_rows: int = 2_048
    capture_required: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """A model process to keep warm, whether or not an arm refers to it.

    ``environment`` is the digest of the lock, ``lock_path`` the model's file that holds it;
    ``load`` is ``native`` (scikit-learn object called on numbers) or ``pyfunc``.
    """

    key: str
    version_id: int
    model: str
    version: int
    blobs: tuple[Blob, ...]
    blob_root: str
    flavour: str = "sklearn"
    environment: str = ""
    lock_path: str = "requirements.txt"
    load: str = "native"
    predict_method: str = "predict"
    max_rows: int = 128


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """A caller's token by its SHA-256; ``deployments`` may be ``("*",)`` for the workspace's all.

    ``expires_at`` is an ISO 8601 time with an offset, or None.
    """

    sha256: str
    token_id: str
    deployments: tuple[str, ...]
    workspace_id: int
    scopes: tuple[str, ...]
    expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    epoch: int
    revision: int
    deployments: tuple[Deployment, ...] = ()
    workers: tuple[WorkerSpec, ...] = ()
    tokens: tuple[TokenGrant, ...] = ()

    @property
    def order(self) -> tuple[int, int]:
        """Return what decides which of two snapshots is newer."""
        return (self.epoch, self.revision)


def dumps(snapshot: Snapshot) -> str:
    """Return the JSON text of the snapshot; equal snapshots give equal texts."""
    return json.dumps(
        asdict(snapshot), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(body: str) -> str:
    """Return the SHA-256 of the text, as 64 hexadecimal digits."""
    return sha256(body.encode()).hexdigest()


def loads(body: str, *, expected_sha256: str | None = None) -> Snapshot:
    """Return the snapshot in the text, verified as far as a node can.

    Raises:
        SnapshotInvalid: the digest differs, a key is missing or of the wrong kind, an owner table
            does not cover 10 000 buckets, or an arm has no worker.
    """
    if expected_sha256 is not None and digest(body) != expected_sha256:
        raise SnapshotInvalid("The snapshot is not the one that was published: its digest differs.")
    try:
        snapshot = _snapshot(json.loads(body))
    except SnapshotInvalid:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotInvalid(f"The snapshot cannot be read: {error!r}.") from error
    _check(snapshot)
    return snapshot


def _check(snapshot: Snapshot) -> None:
    workers = {worker.key for worker in snapshot.workers}
    for deployment in snapshot.deployments:
        for arm in deployment.arms:
            if arm.worker_key not in workers:
                raise SnapshotInvalid(
                    f"Arm {arm.arm} of {deployment.name} names worker {arm.worker_key}, "
                    "which is not in the snapshot."
                )
        if not deployment.arms:
            continue
        try:
            owners = assignment.expand(deployment.owners)
        except ValueError as error:
            raise SnapshotInvalid(f"Deployment {deployment.name}: {error}") from error
        if not 0 <= min(owners) <= max(owners) < len(deployment.arms):
            raise SnapshotInvalid(f"Deployment {deployment.name}: a bucket belongs to no arm.")


def _snapshot(data: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        epoch=int(data["epoch"]),
        revision=int(data["revision"]),
        deployments=_each(data, "deployments", _deployment),
        workers=_each(data, "workers", _worker),
        tokens=_each(data, "tokens", _token),
    )


def _deployment(data: Mapping[str, Any]) -> Deployment:
    known = _known(Deployment, data)
    known["arms"] = _each(data, "arms", lambda arm: Arm(**_known(Arm, arm)))
    known["owners"] = tuple((int(arm), int(count)) for arm, count in data["owners"])
    known["signature"] = _signature(data["signature"])
    return Deployment(**known)


def _signature(data: Mapping[str, Any]) -> Signature:
    tensor = data.get("tensor")
    return Signature(
        inputs=_each(data, "inputs", _column),
        outputs=_each(data, "outputs", _column),
        tensor=Tensor(tensor["dtype"], tuple(tensor["shape"])) if tensor else None,
    )


def _worker(data: Mapping[str, Any]) -> WorkerSpec:
    known = _known(WorkerSpec, data)
    known["blobs"] = _each(data, "blobs", lambda blob: Blob(**_known(Blob, blob)))
    return WorkerSpec(**known)


def _token(data: Mapping[str, Any]) -> TokenGrant:
    known = _known(TokenGrant, data)
    known["token_id"] = str(known["token_id"])
    known["deployments"] = tuple(known["deployments"])
    known["scopes"] = tuple(known["scopes"])
    return TokenGrant(**known)


def _column(data: Mapping[str, Any]) -> Column:
    return Column(**_known(Column, data))


def _mlflow_columns(columns: list[dict[str, Any]]) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=str(column.get("name", index)),
            type=column["tensor-spec"]["dtype"] if column["type"] == "tensor" else column["type"],
            required=column.get("required", True),
        )
        for index, column in enumerate(columns)
    )


def _known(record: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in record.__dataclass_fields__ if name in data}


def _each(
    data: Mapping[str, Any], key: str, read: Callable[[Mapping[str, Any]], Item]
) -> tuple[Item, ...]:
    return tuple(read(item) for item in data.get(key) or ())
