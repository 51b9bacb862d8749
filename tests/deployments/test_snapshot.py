"""A snapshot is read back exactly as it was published, or not at all."""

import dataclasses
import json

import pytest

from deployments import snapshot
from deployments.snapshot import SnapshotInvalid


def published() -> snapshot.Snapshot:
    return snapshot.Snapshot(
        epoch=1,
        revision=7,
        deployments=(
            snapshot.Deployment(
                name="digit-reader-production",
                id=3,
                workspace_id=1,
                workspace="acme",
                revision_id=9,
                revision=4,
                salt="r4",
                arms=(
                    snapshot.Arm("stable", 11, 2, "digit-reader", "v11", 9_500),
                    snapshot.Arm("candidate", 12, 3, "digit-reader", "v12", 500),
                ),
                owners=((1, 500), (0, 9_500)),
                signature=snapshot.Signature(inputs=(snapshot.Column("grösse", "double"),)),
            ),
        ),
        workers=(
            snapshot.WorkerSpec(
                "v11", 11, "digit-reader", 2, (snapshot.Blob("MLmodel", 1, "ab"),), "acme"
            ),
            snapshot.WorkerSpec("v12", 12, "digit-reader", 3, (), "acme"),
        ),
        tokens=(snapshot.TokenGrant("00", "5", ("*",), 1, ("predict",)),),
    )


def test_what_is_read_equals_what_was_published() -> None:
    body = snapshot.dumps(published())
    assert snapshot.loads(body, expected_sha256=snapshot.digest(body)) == published()


def test_a_changed_byte_is_noticed() -> None:
    body = snapshot.dumps(published())
    with pytest.raises(SnapshotInvalid, match="digest differs"):
        snapshot.loads(body.replace('"r4"', '"r5"'), expected_sha256=snapshot.digest(body))


def test_an_older_node_ignores_what_it_does_not_know() -> None:
    data = json.loads(snapshot.dumps(published()))
    data["later"] = data["deployments"][0]["later"] = 1
    assert snapshot.loads(json.dumps(data)) == published()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"owners": ((0, 9_999),)}, "cover 9999"),
        ({"owners": ((2, 10_000),)}, "belongs to no arm"),
        ({"arms": (snapshot.Arm("stable", 1, 1, "m", "v99", 10_000),)}, "not in the snapshot"),
    ],
)
def test_a_snapshot_that_could_not_route_is_refused(
    change: dict[str, object], message: str
) -> None:
    good = published()
    bad = dataclasses.replace(good.deployments[0], **change)  # type: ignore[arg-type]
    with pytest.raises(SnapshotInvalid, match=message):
        snapshot.loads(snapshot.dumps(dataclasses.replace(good, deployments=(bad,))))


def test_a_text_that_is_no_snapshot_is_refused() -> None:
    for text in ("", "[]", '{"epoch": 1}'):
        with pytest.raises(SnapshotInvalid, match="cannot be read"):
            snapshot.loads(text)


def test_epochs_order_before_revisions() -> None:
    later = dataclasses.replace(published(), epoch=2, revision=1)
    assert later.order > published().order


def test_a_signature_comes_from_the_lists_of_an_mlmodel_file() -> None:
    columns = snapshot.Signature.from_mlflow(
        [{"name": "age", "type": "long", "required": False}],
        [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}],
    )
    assert columns.inputs == (snapshot.Column("age", "long", required=False),)
    assert columns.outputs == (snapshot.Column("0", "int64"),)
    tensor = snapshot.Signature.from_mlflow(
        [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 8, 8]}}], None
    )
    assert tensor.tensor == snapshot.Tensor("float32", (-1, 8, 8))
