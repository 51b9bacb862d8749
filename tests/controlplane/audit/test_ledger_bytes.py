"""One event, one byte string: the same that RFC 8785 and RFC 6962 ask for."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.audit import actions, merkle, notes, payloads
from controlplane.core import canonical_json
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.canonical_json import NotCanonical
from tests.controlplane.audit import ledgers

# A machine that is busy with other tests is no finding.
unhurried = settings(deadline=None)
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")).map(
    lambda text: unicodedata.normalize("NFC", text)
)
_KEY = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
_LARGEST = 2**53 - 1
_CANONICAL = st.recursive(
    st.none() | st.booleans() | st.integers(-_LARGEST, _LARGEST) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEY, inner, max_size=4),
    max_leaves=20,
)
_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.datetimes(timezones=st.just(UTC))
    | st.uuids()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@unhurried
@given(_CANONICAL)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert canonical_json.dumps(value) == rfc8785.dumps(value)


@unhurried
@given(_ANYTHING)
def test_whatever_changed_can_be_recorded(value: Any) -> None:
    event = ledgers.event(after={"value": value}, reason=str(value))
    content = payloads.parse(event.payload)
    assert rfc8785.dumps(content).decode() == event.payload
    assert set(content["reason"] or {"commit"}) == {"commit"}


@unhurried
@given(st.dictionaries(_KEY, _CANONICAL, max_size=5))
def test_stored_bytes_are_read_back(content: dict[str, Any]) -> None:
    assert payloads.parse(canonical_json.dumps(content).decode()) == content


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1 }',
        '{"b":1,"a":1}',
        '{"a":1,"a":1}',
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":-0}',
        '{"a":NaN}',
        '{"a":9007199254740992}',
        '{"a":"\\u00e9"}',
        '{"a":"e\u0301"}',
        '{"a":"\\ud800"}',
        '{"a":"\\u0000"}',
        '{"A":1}',
        "[]",
        "{",
        "[" * 100_000,
    ],
)
def test_other_bytes_of_the_same_meaning_are_refused(text: str) -> None:
    with pytest.raises(NotCanonical):
        payloads.parse(text)


def test_an_event_says_what_the_design_lists() -> None:
    event = ledgers.event(
        "promotion.approve",
        actor=ledgers.ANA,
        before={"state": "in_review"},
        after={"state": "approved", "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
        reason="Lift confirmed",
        digests={"subject": "4be1"},
    )
    content = json.loads(event.payload)
    assert content["v"] == 1
    assert content["id"] == str(event.id)
    assert datetime.fromisoformat(content["at"]).isoformat(timespec="microseconds") == content["at"]
    assert content["at"].endswith("+00:00")
    assert content["actor"] == {
        "auth": "password",
        "id": "user:7",
        "kind": "human",
        "on_behalf_of": None,
    }
    assert content["object"] == {"id": "7", "label": "churn", "type": "model"}
    assert content["after"] == {"at": "2026-01-02T03:04:05.000000+00:00", "state": "approved"}
    assert content["cause"] == "human"
    assert content["workspace"] == 1


def test_personal_values_stand_beside_the_event_only() -> None:
    event = ledgers.event(actor=ledgers.ANA, reason="Lift confirmed")
    for secret in ("Lift", "10.1.2.3", "Firefox"):
        assert secret not in event.payload
    content = json.loads(event.payload)
    for row in json.loads(event.personal):
        salt, value = bytes.fromhex(row["salt"]), row["value"].encode()
        expected = hashlib.sha256(b"\x02" + salt + value).hexdigest()
        assert content[row["path"]] == {"commit": expected}
    again = json.loads(ledgers.event(actor=ledgers.ANA, reason="Lift confirmed").payload)
    assert again["reason"] != content["reason"], "the same value must not show as the same"


def test_secrets_are_masked_and_long_texts_cut() -> None:
    token = "gh_human_0190-ab_" + "x" * 43 + "_c0ffee"
    plain = payloads.plain(
        {"password": "hunter2", "old_api_key": "k", "note": f"uses {token}!", "long": "x" * 5_000}
    )
    assert plain["password"] == plain["old_api_key"] == "•"
    assert plain["note"] == "uses •!"
    assert plain["long"] == "x" * 2_000 + "… (5000 characters)"


def test_other_keys_and_numbers_find_a_canonical_form() -> None:
    assert payloads.plain({"Rate-%": 0.25, "a": Decimal("1.50")}) == [
        {"name": "Rate-%", "value": "0.25"},
        {"name": "a", "value": "1.50"},
    ]
    assert payloads.plain({"big": 2**60, "kinds": {ActorKind.HUMAN}}) == {
        "big": str(2**60),
        "kinds": ["human"],
    }


def test_an_unknown_action_cannot_be_recorded() -> None:
    with pytest.raises(actions.UnknownAction, match=r"Add 'model.explode' to the catalogue"):
        ledgers.event("model.explode")


def test_an_outcome_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="not 'perhaps'"):
        ledgers.event(outcome="perhaps")


def test_every_action_reads_as_a_sentence() -> None:
    for action in actions.known():
        for outcome in payloads.OUTCOMES:
            sentence = actions.sentence(action, outcome, actor="Ana", obj="churn {1}")
            assert "{actor}" not in sentence
            assert "{object}" not in sentence
            assert not sentence.endswith("."), action


def test_sentences_tell_what_was_tried() -> None:
    def read(action: str, outcome: str) -> str:
        return actions.sentence(action, outcome, actor="Ana", obj="PR-142")

    assert read("promotion.approve", "success") == "Ana approved PR-142"
    assert read("promotion.approve", "refused") == "Ana tried to approve PR-142 and was refused"
    assert (
        read("promotion.request_changes", "refused")
        == "Ana tried to ask for changes to PR-142 and was refused"
    )
    assert read("gone.away", "success") == "Ana tried to away PR-142 and succeeded"


# The test vectors of the Certificate Transparency project for RFC 6962 section 2.1.
_VECTOR_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
_VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_are_those_of_the_published_vectors() -> None:
    frontier = merkle.Frontier()
    assert frontier.root() == hashlib.sha256(b"").digest()
    for data, root in zip(_VECTOR_LEAVES, _VECTOR_ROOTS, strict=True):
        frontier.append(merkle.hash_leaf(bytes.fromhex(data)))
        assert frontier.root().hex() == root


def _root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return hashlib.sha256(b"\x01" + _root(leaves[:middle]) + _root(leaves[middle:])).digest()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 700])
def test_the_frontier_gives_the_root_of_the_definition(size: int) -> None:
    leaves = [hashlib.sha256(str(number).encode()).digest() for number in range(size)]
    frontier = merkle.Frontier()
    cached = [node for leaf in leaves for node in frontier.append(leaf)]
    assert frontier.root() == _root(leaves)
    assert cached == [
        (8, index, _root(leaves[index * 256 : (index + 1) * 256])) for index in range(size // 256)
    ]
    again = merkle.Frontier()
    for level, _, node in cached:
        again.append_subtree(level, node)
    for leaf in leaves[again.size :]:
        again.append(leaf)
    assert again.root() == _root(leaves)


# The key and note of the documentation of Go's golang.org/x/mod/sumdb/note.
_NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
_NEUMANN_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotp"
    "RZb6KE6RyyBwJnAM=\n"
)


def test_a_note_and_key_of_another_implementation_verify() -> None:
    key = notes.VerifierKey.parse(_NEUMANN)
    assert key.vkey == _NEUMANN
    assert notes.verified_text(_NEUMANN_NOTE, key).startswith("If you think cryptography")
    with pytest.raises(notes.BadNote, match="does not fit"):
        notes.verified_text(_NEUMANN_NOTE.replace("answer", "Answer"), key)
    with pytest.raises(notes.BadNote, match="three lines"):
        notes.open_note(_NEUMANN_NOTE, key)


def test_a_checkpoint_is_signed_and_opened() -> None:
    private = Ed25519PrivateKey.generate()
    checkpoint = notes.Checkpoint("gatehouse.example/ab12", 42, bytes(range(32)))
    note = notes.sign(checkpoint, private)
    key = notes.VerifierKey(checkpoint.origin, private.public_key().public_bytes_raw())
    assert note.startswith("gatehouse.example/ab12\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw")
    assert notes.open_note(note, key) == checkpoint
    other = notes.VerifierKey(
        checkpoint.origin, Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    )
    with pytest.raises(notes.BadNote, match="has not signed"):
        notes.open_note(note, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n42\n", "\n43\n"),
        lambda note: note.replace("\n42\n", "\n042\n"),
        lambda note: note.replace("\n42\n", "\n42\nextension\n"),
        lambda note: note.replace("— ", "- "),
        lambda note: note[:-1],
        lambda note: note.partition("\n\n")[0] + "\n",
        lambda note: note[:-3] + "AA\n",
        lambda note: "",
    ],
)
def test_a_changed_checkpoint_is_refused(change: Any) -> None:
    private = Ed25519PrivateKey.generate()
    checkpoint = notes.Checkpoint("gatehouse.example/ab12", 42, bytes(range(32)))
    key = notes.VerifierKey(checkpoint.origin, private.public_key().public_bytes_raw())
    with pytest.raises(notes.BadNote):
        notes.open_note(change(notes.sign(checkpoint, private)), key)


@pytest.mark.parametrize("text", ["", "a+b", "a+00000000+AQ==", "a+00000000+" + "A" * 44])
def test_a_malformed_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(notes.BadNote):
        notes.VerifierKey.parse(text)


def test_strangers_and_machines_are_actors_too() -> None:
    for actor in (Actor.anonymous(), Actor.system("scheduler")):
        content = json.loads(ledgers.event(actor=actor).payload)
        assert content["actor"]["id"] == actor.id
        assert content["ip"] is None
