"""The product's Celery worker with the kind of job that tests use: ``celery -A job_worker``."""

import django

django.setup()

import job_kinds  # noqa: E402

from controlplane.celery import app  # noqa: E402

job_kinds.register()
__all__ = ["app"]
