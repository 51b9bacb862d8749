"""The description of this door, for programs and their authors."""

from __future__ import annotations

from drf_spectacular.views import SpectacularAPIView

# Registers the token's scheme; here, so that only processes that serve this door load the library.
from controlplane.api import schema  # noqa: F401
from controlplane.api.permissions import DenyByDefault


class Description(SpectacularAPIView):
    """OpenAPI 3.1. It names no record, so it needs no token."""

    permission_classes = (DenyByDefault,)
    open_to_anyone = frozenset({"get"})
