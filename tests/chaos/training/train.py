"""Train a small reader of digits slowly enough to be interrupted: nothing but the MLflow client."""

from __future__ import annotations

import time
from pathlib import Path

import mlflow
import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

table = pd.read_csv("inputs/train/train.csv")
features, labels = table.filter(regex=r"^pixel_\d+$").astype("float64"), table["label"].to_numpy()
with mlflow.start_run():
    for step in range(8):
        mlflow.log_metric("waited", step, step=step)
        time.sleep(0.4)
    model = LogisticRegression(C=0.02, max_iter=200).fit(features, labels)
    mlflow.sklearn.log_model(
        model,
        name="model",
        registered_model_name="reader",
        signature=infer_signature(features, model.predict(features)),
        pip_requirements=str(Path("requirements.lock").resolve()),
    )
