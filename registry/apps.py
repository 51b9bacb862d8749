from django.apps import AppConfig


class RegistryConfig(AppConfig):
    name = "registry"

    def ready(self) -> None:
        from controlplane.access import catalogue
        from registry import models

        catalogue.grants_for(models.Model, user=models.ModelUserGrant, group=models.ModelGroupGrant)
        catalogue.grants_for(
            models.Environment, user=models.EnvironmentUserGrant, group=models.EnvironmentGroupGrant
        )
