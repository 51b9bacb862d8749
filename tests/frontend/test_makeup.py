"""What a reader sees of two versions' inputs and outputs."""

from __future__ import annotations

from frontend.presenters import makeup
from registry.models import ModelVersion


def version(*names: str, kind: str = "double") -> ModelVersion:
    return ModelVersion(
        signature={
            "inputs": [{"name": name, "type": kind} for name in names],
            "outputs": [{"name": "label", "type": "long"}],
        }
    )


PIXELS = [f"pixel_{number}" for number in range(64)]


def test_many_inputs_of_one_type_are_one_line() -> None:
    rows = makeup.signature_rows(version(*PIXELS), version(*PIXELS))

    assert [row.name for row in rows] == ["64 inputs, pixel_0 to pixel_63", "label (output)"]
    assert not any(row.is_changed for row in rows)


def test_a_changed_input_stands_first_and_by_itself() -> None:
    rows = makeup.signature_rows(version(*PIXELS, "gain"), version(*PIXELS))

    assert (rows[0].name, rows[0].before, rows[0].after) == ("gain (input)", "", "double")
    assert rows[1].name == "64 inputs, pixel_0 to pixel_63"


def test_a_few_inputs_are_each_named() -> None:
    rows = makeup.signature_rows(version("age", "income"), None)

    assert [row.name for row in rows] == ["age (input)", "income (input)", "label (output)"]
