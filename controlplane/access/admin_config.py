"""Django's admin, with our site in place of its own."""

from django.contrib.admin.apps import AdminConfig


class GatehouseAdminConfig(AdminConfig):
    default_site = "controlplane.access.admin_site.GatehouseAdminSite"
