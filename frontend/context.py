"""What every template is given. Nothing here asks the database until the shell is drawn."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from frontend.shell import Shell


def shell(request: HttpRequest) -> dict[str, Any]:
    """Return the frame of the page and, inside a workspace, the workspace for `{% link %}`."""
    return {"shell": Shell(request), "workspace": getattr(request, "workspace", None)}
