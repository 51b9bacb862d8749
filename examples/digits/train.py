"""Train a reader of handwritten digits, log it and register it: nothing but the MLflow client.

Run by Gatehouse as a job, which sets MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN and MLFLOW_RUN_ID.
It runs the same on a laptop against any MLflow server:

    python train.py --data train.csv --model linear
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sklearn.svm import SVC

MODEL_NAME = "digit-reader"
LIGHTEST, DARKEST = 0.0, 16.0
# What the saved files may hold beside scikit-learn's usual estimators.
TRUSTED_TYPES = [
    "numpy.dtype",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
]


def build(kind: str) -> ClassifierMixin:
    """Return an untrained classifier.

    ``linear`` weighs each pixel; ``curves`` draws a curve through each pixel's ink levels, and
    refuses ink beyond those it was drawn for; ``kernel`` compares whole images.
    """
    if kind == "linear":
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.02, max_iter=300))
    if kind == "curves":
        knots = np.repeat(np.linspace(LIGHTEST, DARKEST, 6)[:, None], 64, axis=1)
        curves = SplineTransformer(degree=2, knots=knots, extrapolation="error")
        return make_pipeline(curves, LogisticRegression(C=0.3, max_iter=500))
    kernel = CalibratedClassifierCV(SVC(C=10, gamma=0.01), ensemble=False)
    return make_pipeline(StandardScaler(), kernel)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", choices=("linear", "curves", "kernel"), default="linear")
    arguments = parser.parse_args()

    table = pd.read_csv(arguments.data)
    features = table.filter(regex=r"^pixel_\d+$").astype("float64")
    labels = table["label"].to_numpy()
    print(f"{len(table)} images, {features.shape[1]} pixels each", flush=True)

    with mlflow.start_run():
        mlflow.log_params({"model": arguments.model, "rows": len(table), "folds": 4})
        folds = StratifiedKFold(4, shuffle=True, random_state=0)
        scores = []
        for step, (fit, judge) in enumerate(folds.split(features, labels), start=1):
            model = build(arguments.model).fit(features.iloc[fit], labels[fit])
            scores.append(model.score(features.iloc[judge], labels[judge]))
            mlflow.log_metric("fold_accuracy", scores[-1], step=step)
            print(f"fold {step}: accuracy {scores[-1]:.4f}", flush=True)
        mlflow.log_metric("cross_validated_accuracy", float(np.mean(scores)))

        model = build(arguments.model).fit(features, labels)
        mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=MODEL_NAME,
            signature=infer_signature(features, model.predict(features)),
            input_example=features.head(3),
            pip_requirements=str(Path(__file__).with_name("requirements.lock")),
            skops_trusted_types=TRUSTED_TYPES,
        )
        print(f"registered {MODEL_NAME}: {np.mean(scores):.4f} in cross-validation", flush=True)


if __name__ == "__main__":
    main()
