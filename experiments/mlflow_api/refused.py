"""What MLflow has and this door does not serve: one sentence each, with what to use instead.

501 and not 404, because clients take ENDPOINT_NOT_FOUND for an old server and try older routes.
"""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from experiments.mlflow_api import protocol

_ANY_API = r"(?:ajax-)?api/[23]\.0/"
# The first match counts. (what the path starts with, the feature, what to use instead)
FEATURES: tuple[tuple[str, str, str], ...] = (
    (
        _ANY_API + r"mlflow(?:-artifacts/(?:mpu|presigned)\b|/artifacts/presigned-)",
        "multipart and presigned transfers",
        "Send and fetch artifacts through the artifact proxy; files up to the limit pass whole.",
    ),
    (
        _ANY_API + r"mlflow/webhooks\b",
        "webhooks",
        "Follow the audit log through /api/v1/ instead.",
    ),
    (
        r"graphql\b|" + _ANY_API + r"mlflow/graphql\b",
        "GraphQL",
        "Use the REST routes.",
    ),
    (
        r"gateway\b|" + _ANY_API + r"mlflow/gateway(?:-proxy)?\b",
        "the AI gateway",
        "Call the provider directly.",
    ),
    (
        _ANY_API + r"mlflow/workspaces\b",
        "workspace administration",
        "Workspaces are managed in the portal; choose one with the header X-MLFLOW-WORKSPACE.",
    ),
    (
        _ANY_API + r"mlflow/scorers?\b",
        "scorers",
        "Run evaluations as jobs.",
    ),
    (
        _ANY_API + r"mlflow/genai\b",
        "server-side evaluation",
        "Run evaluations as jobs.",
    ),
    (
        _ANY_API + r"mlflow/issues\b",
        "issues",
        "Discuss a version on its promotion request.",
    ),
    (
        _ANY_API + r"mlflow/review-queues\b",
        "review queues",
        "Reviews are given on promotion requests.",
    ),
    (
        _ANY_API + r"mlflow/label-schemas\b",
        "label schemas",
        "Register labels as a dataset version.",
    ),
    (
        _ANY_API + r"mlflow/prompt-optimization\b",
        "prompt optimisation",
        "Run it as a job.",
    ),
    (
        _ANY_API + r"(?:mlflow/)?jobs\b",
        "jobs",
        "Use /api/v1/ or the command line to start jobs.",
    ),
    (
        _ANY_API + r"mlflow/assistant\b|assistant\b",
        "the assistant",
        "There is no replacement.",
    ),
    (
        _ANY_API + r"mlflow/demo\b",
        "demo data",
        "Run `make demo`.",
    ),
    (
        _ANY_API + r"mlflow/(?:ui-)?telemetry\b|ajax-api/3\.0/mlflow/ui-telemetry\b",
        "telemetry",
        "Nothing is collected.",
    ),
    (
        _ANY_API + r"mlflow/mcp\b|mcp\b",
        "the MCP server",
        "There is no replacement.",
    ),
    (
        r"static-files\b",
        "its user interface",
        "Open the portal in a browser.",
    ),
    (
        _ANY_API + r"mlflow/runs/create-promptlab-run\b",
        "the prompt lab",
        "Log prompts and runs with the client.",
    ),
    (
        r"v1/(?:traces|metrics|logs)\b",
        "OpenTelemetry ingestion",
        "Log traces with the MLflow client, which then sends them with the trace itself.",
    ),
)
_COMPILED = tuple((re.compile(pattern), feature, instead) for pattern, feature, instead in FEATURES)


def sentence(path: str) -> str:
    """Return what a caller of an unserved path is told."""
    for pattern, feature, instead in _COMPILED:
        if pattern.match(path.lstrip("/")):
            return f"Gatehouse does not serve MLflow {feature} ({path}). {instead}"
    return (
        f"Gatehouse does not serve MLflow this route ({path}). The routes of experiments, runs, "
        "logged models, traces, registered models and artifacts are served."
    )


def response(path: str) -> JsonResponse:
    return protocol.error("NOT_IMPLEMENTED", sentence(path[:200]), 501)


@protocol.door()
def view(request: HttpRequest) -> HttpResponseBase:
    return response(request.path)
