"""Write the handwritten digits that ship with scikit-learn as three CSV files.

1,797 images of 8 × 8 pixels, each pixel 0 (white) to 16 (black). Training and holdout never share
a row; what is left is kept for live requests, so that each of those rows is asked exactly once.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TRAINING_ROWS, HOLDOUT_ROWS = 700, 450
SEED = 20
PIXELS = [f"pixel_{index}" for index in range(64)]


def write(folder: Path) -> dict[str, Path]:
    """Write ``train.csv``, ``holdout.csv`` and ``requests.csv``; return their paths.

    The holdout also says how much ink an image has, so that faint and bold ones can be told apart.
    """
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(labels))
    images, labels = images[order], labels[order]
    ink = np.where(images.sum(axis=1) < np.median(images.sum(axis=1)), "faint", "bold")
    first, second = TRAINING_ROWS, TRAINING_ROWS + HOLDOUT_ROWS
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "train": slice(0, first),
        "holdout": slice(first, second),
        "requests": slice(second, None),
    }
    paths = {}
    for name, part in parts.items():
        paths[name] = folder / f"{name}.csv"
        with paths[name].open("w", newline="") as file:
            writer = csv.writer(file)
            extra = ["ink"] if name == "holdout" else []
            writer.writerow([*PIXELS, "label", *extra])
            for row, label, kind in zip(images[part], labels[part], ink[part], strict=True):
                writer.writerow(
                    [*(int(pixel) for pixel in row), int(label), *([kind] if extra else [])]
                )
    return paths


if __name__ == "__main__":
    for name, path in write(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        print(name, path)
