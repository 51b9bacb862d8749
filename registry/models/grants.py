"""Who may do what to one model or one environment: direct foreign keys, one row per verb."""

from __future__ import annotations

from django.db import models

from controlplane.access.models import GroupGrant, UserGrant
from registry.models.environments import Environment
from registry.models.models import Model


class ModelUserGrant(UserGrant):
    content_object = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="user_grants")


class ModelGroupGrant(GroupGrant):
    content_object = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="group_grants")


class EnvironmentUserGrant(UserGrant):
    content_object = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="user_grants"
    )


class EnvironmentGroupGrant(GroupGrant):
    content_object = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="group_grants"
    )
