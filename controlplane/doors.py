"""Joining the addresses of the apps that have some."""

from __future__ import annotations

from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path


def door(prefix: str, module: str) -> list[URLPattern | URLResolver]:
    """Return the addresses of one app's door, if that app has one."""
    package = module.rpartition(".")[0]
    if find_spec(package) is None or find_spec(module) is None:
        return []
    return [path(prefix, include(module))]
