from django.apps import AppConfig


class DatabaseConfig(AppConfig):
    name = "controlplane.database"
    label = "database"
    verbose_name = "Database"
