"""Time, in one place, so that a test can hold it still."""

from datetime import datetime

from django.utils import timezone


def now() -> datetime:
    """Return the present moment, aware and in UTC."""
    return timezone.now()
