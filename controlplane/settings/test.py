"""Settings of the test run: the same product, on throw-away servers."""

import os

from controlplane.local import throw_away

os.environ.setdefault("GATEHOUSE_SECRET_KEY", "only-for-tests-" + "x" * 40)
# Set, not defaulted: a test must never reach the servers that the developer's shell points at.
os.environ.update(throw_away.environment())

from controlplane.settings.base import *  # noqa: F403

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
# A lock that a test forgot fails that test instead of holding the run up.
DATABASES["migrate"]["OPTIONS"]["options"] = "-c lock_timeout=20s"  # noqa: F405
