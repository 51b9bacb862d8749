"""Signed checkpoints in the formats of C2SP (tlog-checkpoint, signed-note), Ed25519 only."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_SIGNATURE_BYTES = 64


class BadNote(ValueError):
    """The text is no checkpoint, or is not signed by the key; the message says which."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree size and root under the log's name."""

    origin: str
    tree_size: int
    root: bytes

    def text(self) -> str:
        """Return the lines that are signed."""
        return f"{self.origin}\n{self.tree_size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half: what everybody needs to check a note, and nobody can sign with."""

    name: str
    public_bytes: bytes

    @property
    def key_id(self) -> bytes:
        content = self.name.encode() + b"\n" + _ED25519 + self.public_bytes
        return hashlib.sha256(content).digest()[:4]

    @property
    def vkey(self) -> str:
        """Return the key as one line: name, key id, algorithm and key."""
        encoded = base64.b64encode(_ED25519 + self.public_bytes).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Return the key that a line describes.

        Raises:
            BadNote: the line is malformed.
        """
        parts = vkey.strip().split("+", 2)
        if len(parts) != 3:
            raise BadNote("A verifier key has three parts joined by +.")
        name, key_id, encoded = parts
        content = _decoded(encoded)
        if len(content) != 33 or content[:1] != _ED25519:
            raise BadNote("The verifier key is not an Ed25519 key.")
        key = cls(name, content[1:])
        if key.key_id.hex() != key_id:
            raise BadNote("The verifier key's id is not that of its name and key.")
        return key


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """Return the checkpoint as a signed note."""
    text = checkpoint.text()
    verifier = VerifierKey(checkpoint.origin, key.public_key().public_bytes_raw())
    signature = base64.b64encode(verifier.key_id + key.sign(text.encode())).decode()
    return f"{text}\n— {checkpoint.origin} {signature}\n"


def open_note(note: str, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint of a note that carries the key's valid signature.

    Raises:
        BadNote: it is malformed, or the key has not signed it.
    """
    return _parse_text(verified_text(note, key))


def verified_text(note: str, key: VerifierKey) -> str:
    """Return the signed lines of a note; other keys' signatures are passed over.

    Raises:
        BadNote: it is malformed, or the key has not signed it.
    """
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise BadNote("The note has no signature block.")
    text += "\n"
    for line in signatures.splitlines():
        name, encoded = _parse_signature(line)
        if name != key.name or encoded[:4] != key.key_id:
            continue
        if len(encoded) != 4 + _SIGNATURE_BYTES:
            raise BadNote("The signature has the wrong length.")
        try:
            Ed25519PublicKey.from_public_bytes(key.public_bytes).verify(encoded[4:], text.encode())
        except InvalidSignature:
            raise BadNote("The signature does not fit the note.") from None
        return text
    raise BadNote(f"The key {key.key_id.hex()} has not signed the note.")


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise BadNote("A checkpoint has three lines.")
    origin, size, root = lines[:3]
    if not origin or not size.isascii() or not size.isdigit() or str(int(size)) != size:
        raise BadNote("The checkpoint's origin or size is malformed.")
    root_bytes = _decoded(root)
    if len(root_bytes) != 32:
        raise BadNote("The checkpoint's root is not a SHA-256.")
    return Checkpoint(origin, int(size), root_bytes)


def _parse_signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise BadNote("A signature line is malformed.")
    return parts[1], _decoded(parts[2])


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadNote("The base64 is malformed.") from None
