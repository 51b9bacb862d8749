"""Models as users log them with the stock MLflow client, small enough to be made in a test run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


def save_all(folder: Path) -> dict[str, Path]:
    """Return the model folders by name.

    `tree` and `logistic` read digits; only `tree` accepts missing pixels. `one` and `two` answer
    with their own number. `customers` mixes column types and answers with a word.
    """
    import mlflow.sklearn
    import numpy as np
    import pandas as pd  # type: ignore[import-untyped]
    from mlflow.models import infer_signature
    from sklearn.compose import make_column_transformer
    from sklearn.datasets import load_digits
    from sklearn.dummy import DummyRegressor
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    warnings.filterwarnings("ignore")
    digits = load_digits(as_frame=True)
    pair = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0]})
    customers = pd.DataFrame(
        {
            "age": np.array([20, 30, 40, 50], dtype="int32"),
            "income": [1.0, 2.0, 30.0, 40.0],
            "city": ["Köln", "Bonn", "Köln", "Bonn"],
        }
    )
    words = ["low", "low", "high", "high"]
    by_city = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    made: dict[str, tuple[Any, Any, Any]] = {
        "tree": (DecisionTreeClassifier(random_state=0), digits.data, digits.target),
        "logistic": (
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
            digits.data,
            digits.target,
        ),
        "one": (DummyRegressor(strategy="constant", constant=1.0), pair, [1.0, 1.0]),
        "two": (DummyRegressor(strategy="constant", constant=2.0), pair, [2.0, 2.0]),
        "customers": (make_pipeline(by_city, LogisticRegression()), customers, words),
    }
    saved = {}
    for name, (model, features, target) in made.items():
        model.fit(features, target)
        saved[name] = folder / name
        mlflow.sklearn.save_model(
            model,
            str(saved[name]),
            signature=infer_signature(features, model.predict(features)),
            input_example=features.head(3),
            pip_requirements=["scikit-learn"],
            serialization_format="skops",
            skops_trusted_types=["sklearn.tree._tree.Tree"] if name == "tree" else None,
        )
    return saved


if __name__ == "__main__":
    import sys

    save_all(Path(sys.argv[1]))
