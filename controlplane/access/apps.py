from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccessConfig(AppConfig):
    name = "controlplane.access"
    label = "access"

    def ready(self) -> None:
        from controlplane.access import catalogue, roles
        from controlplane.access.models import WorkspaceGroupGrant, WorkspaceUserGrant
        from controlplane.accounts.models import Workspace

        catalogue.grants_for(Workspace, user=WorkspaceUserGrant, group=WorkspaceGroupGrant)
        post_migrate.connect(roles.make_global_groups, sender=self)
