"""Settings of the test run: the same product, on throw-away servers."""

import os

os.environ.setdefault("GATEHOUSE_SECRET_KEY", "only-for-tests-" + "x" * 40)
os.environ.setdefault("DATABASE_URL", "postgresql://gh_app@127.0.0.1:1/gatehouse")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")

from controlplane.settings.base import *  # noqa: E402, F403

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
