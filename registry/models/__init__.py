"""Records of the registry: bytes, models, datasets, environments, evidence and promotions."""

from registry.models.blobs import ArtifactBlob
from registry.models.datasets import Dataset, DatasetVersion
from registry.models.environments import Environment, Policy
from registry.models.evidence import Evidence, VersionUse
from registry.models.grants import (
    EnvironmentGroupGrant,
    EnvironmentUserGrant,
    ModelGroupGrant,
    ModelUserGrant,
)
from registry.models.models import Alias, Model, ModelVersion, VersionDataset
from registry.models.promotions import GateResult, PromotionRequest, Review

__all__ = [
    "Alias",
    "ArtifactBlob",
    "Dataset",
    "DatasetVersion",
    "Environment",
    "EnvironmentGroupGrant",
    "EnvironmentUserGrant",
    "Evidence",
    "GateResult",
    "Model",
    "ModelGroupGrant",
    "ModelUserGrant",
    "ModelVersion",
    "Policy",
    "PromotionRequest",
    "Review",
    "VersionDataset",
    "VersionUse",
]
