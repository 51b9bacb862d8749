"""What drf-spectacular cannot see by itself: the token, the problem body, names of operations."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `detail` is a sentence for a person, `code` is for machines.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "fields": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "additionalProperties": True,
}
_METHODS = ("get", "post", "put", "patch", "delete")


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "controlplane.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "gh_<kind>_…"}


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Say once what every refusal looks like, and refer to it from every operation."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    components.setdefault("responses", {})["Refused"] = {
        "description": "Refused or failed, with the reason.",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    for operations in result.get("paths", {}).values():
        for method in _METHODS:
            if method in operations:
                operations[method]["responses"]["default"] = {
                    "$ref": "#/components/responses/Refused"
                }
    return result
