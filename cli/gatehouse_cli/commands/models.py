"""``gatehouse models``, ``versions`` and ``deployments``: what is there, and what serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from gatehouse_cli import output
from gatehouse_cli.client import part
from gatehouse_cli.session import Session, model_version, with_session


@click.group()
def models() -> None:
    """Look at models."""


@models.command("list")
@with_session
def list_models(session: Session) -> None:
    """List the models."""
    rows = list(session.client.pages("models"))
    if session.as_json:
        output.show_json(rows)
        return
    output.show_table(
        ["model", "newest", "live", "risk", "state", "owner", "description"],
        [
            [
                row["name"],
                row["newest_version"],
                row["live_version"],
                row["risk_tier"],
                output.words(row["state"]),
                row["owner"],
                row["description"],
            ]
            for row in rows
        ],
        empty="No models. A version registered with the MLflow client makes its model.",
    )


@models.command("show")
@click.argument("name")
@with_session
def show_model(session: Session, name: str) -> None:
    """Show one model."""
    model = session.client.get(f"models/{part(name)}")
    if session.as_json:
        output.show_json(model)
        return
    output.show_record(
        {
            "model": model["name"],
            "risk": model["risk_tier"],
            "state": output.words(model["state"]),
            "newest version": model["newest_version"],
            "live version": model["live_version"],
            "owner": model["owner"],
            "created": output.moment(model["created_at"]),
            "tags": model["tags"],
            "description": model["description"],
        }
    )


@click.group()
def versions() -> None:
    """Look at model versions."""


@versions.command("list")
@click.argument("model")
@with_session
def list_versions(session: Session, model: str) -> None:
    """List the versions of a model, newest first."""
    rows = list(session.client.pages(f"models/{part(model)}/versions"))
    if session.as_json:
        output.show_json(rows)
        return
    output.show_table(
        ["version", "state", "size", "by", "created", "run", "manifest"],
        [
            [
                row["reference"],
                output.words(row["state"]),
                output.size(row["size_bytes"]),
                row["registrant"],
                output.moment(row["created_at"]),
                row["run_id"],
                row["manifest_sha256"][:12],
            ]
            for row in rows
        ],
        empty=f"{model} has no versions.",
    )


@versions.command("show")
@click.argument("reference", metavar="MODEL@VERSION")
@with_session
def show_version(session: Session, reference: str) -> None:
    """Show one version, its files, and the newest evidence about it."""
    model, number = model_version(reference)
    address = f"models/{part(model)}/versions/{number}"
    version = session.client.get(address)
    evidence = next(iter(session.client.pages(f"{address}/evidence", limit=1)), None)
    if session.as_json:
        output.show_json({**version, "evidence": evidence})
        return
    output.show_record(
        {
            "version": version["reference"],
            "state": output.words(version["state"]),
            "by": version["registrant"],
            "sealed": output.moment(version["sealed_at"]),
            "run": version["run_id"],
            "lock": version["lock_sha256"],
            "manifest": version["manifest_sha256"],
            "file scan": version["file_verdict"],
            "tags": version["tags"],
            "description": version["description"],
        }
    )
    click.echo("\nFiles")
    output.show_table(
        ["path", "size", "sha-256"],
        [
            [item["path"], output.size(item["size"]), item["sha256"][:12]]
            for item in version["manifest"]
        ],
        empty="None.",
    )
    if evidence:
        show_evidence(evidence)


@click.group()
def deployments() -> None:
    """Look at what serves where."""


@deployments.command("list")
@with_session
def list_deployments(session: Session) -> None:
    """List the deployments."""
    rows = list(session.client.pages("deployments"))
    if session.as_json:
        output.show_json(rows)
        return
    output.show_table(
        ["deployment", "model", "environment", "state", "address"],
        [
            [
                row["name"],
                row["model"],
                row["environment"],
                output.words(row["state"]),
                row["address"],
            ]
            for row in rows
        ],
        empty="No deployments. The first promotion of a model to an environment makes one.",
    )


@deployments.command("show")
@click.argument("name")
@with_session
def show_deployment(session: Session, name: str) -> None:
    """Show what a deployment serves now, and which gateways do so."""
    deployment = session.client.get(f"deployments/{part(name)}")
    if session.as_json:
        output.show_json(deployment)
        return
    revision = deployment["revision"] or {}
    share = revision.get("candidate_basis_points") or 0
    output.show_record(
        {
            "deployment": deployment["name"],
            "state": output.words(deployment["state"]),
            "revision": revision.get("number"),
            "stable": revision.get("stable") and f"version {revision['stable']}",
            "candidate": revision.get("candidate")
            and f"version {revision['candidate']} with {share / 100:g} % of requests",
            "way back": [f"version {number}" for number in deployment["rollback_set"]],
            "address": deployment["address"],
        }
    )
    click.echo("\nGateways")
    output.show_table(
        ["gateway", "routes by"],
        [[item["name"], item["routing_revision"]] for item in deployment["gateways"]],
        empty="None is running.",
    )


def show_evidence(evidence: Mapping[str, Any]) -> None:
    """Write the figures of an evaluation, each with its interval."""
    body, baseline = evidence["body"], evidence["baseline"]
    facts = [f"{body['rows']:,} rows"]
    if evidence["dataset"]:
        facts.insert(0, f"on {evidence['dataset']}")
    if baseline:
        facts.append(f"against version {baseline}")
    if body.get("confidence"):
        facts.append(f"{float(body['confidence']) * 100:g} % intervals")
    click.echo(f"\nEvaluation {', '.join(facts)}")
    rows = [[metric["title"], *_figures(metric)] for metric in body["metrics"]] + [
        [f"{part_['column']} = {part_['value']}", *_figures(part_)]
        for part_ in body.get("slices", [])
        if not part_.get("too_few")
    ]
    output.show_table(
        ["metric", "candidate", "interval", "live", "difference", "rows"], rows, empty="No figures."
    )


def _figures(metric: Mapping[str, Any]) -> list[Any]:
    candidate, live, difference = (metric.get(name) for name in ("candidate", "live", "difference"))
    return [
        _number(candidate, "value"),
        _interval(candidate),
        _number(live, "value"),
        f"{_number(difference, 'value')} ({_interval(difference)})" if difference else "",
        candidate["n"] if candidate else None,
    ]


def _number(estimate: Mapping[str, Any] | None, name: str) -> str:
    return f"{float(estimate[name]):.4f}".replace("-", "−") if estimate else ""


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if not estimate:
        return ""
    return f"{_number(estimate, 'low')} to {_number(estimate, 'high')}"
