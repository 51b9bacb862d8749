"""What the sealer keeps on its own disk: the signing key, its public half, the last state.

None of it is in the database or its backups: that is what makes a restored database visible.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.audit.merkle import EMPTY_ROOT
from controlplane.audit.notes import BadNote, VerifierKey

KEY_FILE = "signing_key.pem"
VERIFIER_FILE = "verifier_keys"
STATE_FILE = "state.json"


class FilesUnusable(Exception):
    """A file is missing or damaged; the message names it."""


@dataclass(frozen=True, slots=True)
class State:
    """What this sealer has signed last."""

    origin: str
    tree_size: int
    root: str

    @classmethod
    def empty(cls, origin: str) -> State:
        return cls(origin, 0, EMPTY_ROOT.hex())


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and the tree sizes for which it counts; ``to_size`` None means until now."""

    key: VerifierKey
    from_size: int
    to_size: int | None

    def covers(self, tree_size: int) -> bool:
        return self.from_size <= tree_size and (self.to_size is None or tree_size <= self.to_size)


class SealerFiles:
    """The folder ``settings.LEDGER_STATE_DIR``; only the sealer's user may read the key in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has_key(self) -> bool:
        return (self.folder / KEY_FILE).exists()

    def make_key(self, origin: str) -> None:
        """Make the signing key (mode 0400) and publish its other half for verifiers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        verifier = VerifierKey(origin, key.public_key().public_bytes_raw())
        # The public half first: a key that nobody could check would be worse than none.
        self._write(VERIFIER_FILE, f"0 - {verifier.vkey}\n".encode(), 0o444)
        content = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._write(KEY_FILE, content, 0o400)

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the signing key.

        Raises:
            FilesUnusable: it is missing, damaged, or others may read it.
        """
        path = self.folder / KEY_FILE
        try:
            mode = path.stat().st_mode & 0o777
            content = path.read_bytes()
        except OSError as error:
            raise FilesUnusable(
                f"The signing key {path} cannot be read: {error.strerror}."
            ) from error
        if mode & 0o077:
            raise FilesUnusable(f"The signing key {path} is open to others (mode {mode:04o}).")
        try:
            key = serialization.load_pem_private_key(content, password=None)
        except ValueError as error:
            raise FilesUnusable(f"The signing key {path} is damaged.") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise FilesUnusable(f"The signing key {path} is not an Ed25519 key.")
        return key

    def load_state(self) -> State | None:
        """Return the last state, or None where this sealer never started.

        Raises:
            FilesUnusable: the file is damaged.
        """
        path = self.folder / STATE_FILE
        try:
            values = json.loads(path.read_bytes())
            return State(str(values["origin"]), int(values["tree_size"]), str(values["root"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FilesUnusable(f"The sealer's state file {path} is damaged.") from error

    def save_state(self, state: State) -> None:
        """Replace the state in one step; it is on the disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(STATE_FILE, json.dumps(asdict(state)).encode(), 0o644)

    def _write(self, name: str, content: bytes, mode: int) -> None:
        temporary = self.folder / f".{name}.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_trusted_keys(path: Path) -> list[TrustedKey]:
    """Return the keys of a file with lines ``<from size> <to size or -> <verifier key>``.

    Raises:
        FilesUnusable: it cannot be read, or holds no key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        keys = [_trusted_key(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FilesUnusable(f"The verifier keys {path} cannot be read: {reason}.") from error
    if not keys:
        raise FilesUnusable(f"The file {path} holds no verifier key.")
    return keys


def _trusted_key(line: str) -> TrustedKey:
    parts = line.split()
    if len(parts) != 3:
        raise BadNote("a line has not three parts")
    start, end, vkey = parts
    return TrustedKey(VerifierKey.parse(vkey), int(start), None if end == "-" else int(end))
