"""Score predictions against labels in trusted code: no Django, no model code, no label leaves.

A model's own environment sees features and writes predictions; here they meet the labels.
"""

from experiments.scoring.cards import MetricScore, Numbers, ScoreCard, ScoringError, SliceScore
from experiments.scoring.classes import ClassOutput, score_classification
from experiments.scoring.quantities import score_regression
from experiments.scoring.slices import MINIMUM_SLICE_ROWS, SliceColumn

__all__ = [
    "MINIMUM_SLICE_ROWS",
    "ClassOutput",
    "MetricScore",
    "Numbers",
    "ScoreCard",
    "ScoringError",
    "SliceColumn",
    "SliceScore",
    "score_classification",
    "score_regression",
]
