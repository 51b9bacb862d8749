"""Datasets: names, files, sizes and states that cannot be used."""

from __future__ import annotations

from django.test import override_settings

from registry.models import DatasetVersion
from registry.services import datasets
from tests.refusals.scene import CSV, Scene, file
from tests.refusals.table import ABSENT, SUCCESS, UNREAD, Answer, Row, refused
from tests.rooms import SYSTEM


def _profiled(scene: Scene, name: str, content: bytes) -> Answer:
    """Upload a file that is stored, and return what became of it once it was read."""
    sent = scene.upload("engineer", "datasets/odd/versions/", file(name, content))
    assert sent.status == 201, sent
    version = DatasetVersion.objects.filter(dataset__name="odd").latest("number")
    datasets.seal(version.pk, actor=SYSTEM)
    version.refresh_from_db()
    shown = scene.rest("viewer", "GET", f"datasets/odd/versions/{version.number}/")
    return Answer(shown.status, version.state, version.note)


def _rejected(name: str, file_name: str, content: bytes, says: str, *, first: bool = False) -> Row:
    """A file that cannot be read is kept as a rejected version, which says why."""
    new = {"registry_datasetversion": 1, "registry_artifactblob": 1, "files": 1}
    changed = {"registry_dataset": int(first), "outbox_outboxmessage": 1}
    return Row(
        name,
        lambda scene: _profiled(scene, file_name, content),
        *(200, "rejected", says),
        (("dataset.register", SUCCESS), ("dataset.reject", SUCCESS)),
        leaves={**new, **changed},
    )


def _small(scene: Scene) -> Answer:
    with override_settings(UPLOAD_LIMIT_BYTES=len(CSV) - 1):
        return scene.upload("engineer", "datasets/rows/versions/", file("rows.csv", CSV))


ROWS = [
    Row(
        "a dataset name with a space",
        lambda scene: scene.upload("engineer", "datasets/my rows/versions/", file("a.csv", CSV)),
        *(400, "invalid", "'my rows' cannot name a dataset: use letters, digits"),
        refused("dataset.register"),
    ),
    Row(
        "a file name with a path",
        lambda scene: scene.upload("engineer", "datasets/rows/versions/", file("a b.csv", CSV)),
        *(400, "invalid", "'a b.csv' cannot name a file"),
        refused("dataset.register"),
    ),
    Row(
        "two files of one name",
        lambda scene: scene.upload(
            "engineer", "datasets/rows/versions/", file("a.csv", CSV), file("a.csv", b"x\n1\n")
        ),
        *(400, "invalid", "Two of the files have the same name."),
        refused("dataset.register"),
    ),
    Row(
        "no file",
        lambda scene: scene.upload("engineer", "datasets/rows/versions/", note="empty"),
        *(400, "invalid", "Send at least one file in the field “file”."),
        refused("dataset.register"),
    ),
    Row(
        "data as JSON",
        lambda scene: scene.rest("engineer", "POST", "datasets/rows/versions/", {"x": [1]}),
        *(415, "unsupported_media_type", "Unsupported media type"),
        UNREAD,
    ),
    Row(
        "a file beyond the limit",
        _small,
        *(413, "too_large", f"The upload is larger than {len(CSV) - 1} bytes."),
        UNREAD,
    ),
    _rejected("a file that is no table", "odd.csv", b"\x89PNG\r\n\x1a\n\x00\x00", "", first=True),
    _rejected("a file of an unknown kind", "odd.docx", b"PK\x03\x04", "odd.docx"),
    _rejected("an empty file", "odd.csv", b"", "odd.csv"),
    _rejected("a table without rows", "odd.csv", b"x,label\n", "odd.csv"),
    _rejected("a ragged table", "odd.csv", b"x,label\n1,2\n3\n", "odd.csv"),
    Row(
        "a dataset that does not exist",
        lambda scene: scene.rest("viewer", "GET", "datasets/nowhere/versions/1/"),
        *(404, "not_found", "There is no dataset version 'nowhere@1'."),
        ABSENT,
    ),
]
