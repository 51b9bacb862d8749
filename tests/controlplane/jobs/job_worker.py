"""The product's Celery worker with the kind of job that tests use."""

import os

import django

django.setup()

from controlplane.celery import app  # noqa: E402
from tests.controlplane.jobs import job_kinds  # noqa: E402

job_kinds.register()
if "TEST_BROKER" in os.environ:
    # A broker of its own, which the test can kill.
    app.conf.update(broker_url=os.environ["TEST_BROKER"])
__all__ = ["app"]
