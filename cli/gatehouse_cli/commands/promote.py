"""``gatehouse promote``, ``promotions`` and ``rollback``: what decides what serves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from gatehouse_cli import output, promotions
from gatehouse_cli.client import Client, part
from gatehouse_cli.errors import Exit, GatehouseError, UsageError
from gatehouse_cli.session import Session, model_version, with_session

_SETTLE_SECONDS = 30


@click.command()
@click.argument("reference", metavar="MODEL@VERSION")
@click.option("--to", "environment", required=True, help="The environment, such as production.")
@click.option("--reason", default="", help="Why; reviewers read it first.")
@click.option("--link", default="", help="An address with more: a ticket, a pull request.")
@click.option(
    "--strategy",
    type=click.Choice(["blue_green", "canary"]),
    default=None,
    help="Instead of the one that the environment's policy names.",
)
@click.option("--wait", is_flag=True, help="Stay until it is decided and the rollout has ended.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="Wait at most this long, then end with status 15.",
)
@with_session
def promote(
    session: Session,
    reference: str,
    environment: str,
    reason: str,
    link: str,
    strategy: str | None,
    wait: bool,
    timeout_seconds: float,
) -> None:
    """Ask for a version to be promoted, and with --wait follow it to the end.

    Asking again for the same version follows the request that is open already.

    \b
    Exit status with --wait
      0   done: the version is live        13  expired or withdrawn
      1   error                            14  a gate failed
      2   wrong usage                      15  still waiting at the time-out
      10  not permitted                    16  rolled back
      11  rejected
      12  changes requested
    """
    model, version = model_version(reference)
    promotion, is_new = promotions.ask(
        session.client,
        model,
        version,
        environment,
        reason=reason,
        link=link,
        strategy=strategy or "",
    )
    opened = "is open" if is_new else "stands for this version already"
    output.note(f"{promotion['reference']} {opened}: {promotion['url']}")
    if wait:
        promotion = promotions.follow(
            session.client,
            promotion,
            timeout_seconds=timeout_seconds,
            changed=lambda now: output.note(_news(now)),
            trouble=output.note,
        )
    if session.as_json:
        output.show_json(promotion)
    elif not wait:
        _show(promotion)
    else:
        click.echo(_verdict(promotion))
    if wait:
        raise SystemExit(int(promotions.outcome(promotion)))


@click.group("promotions")
def group() -> None:
    """Look at promotions."""


@group.command("list")
@click.option("--state", default="open", show_default=True, help="open, closed, all, or one state.")
@click.option("--model", default="", help="Only of this model.")
@click.option("--env", "environment", default="", help="Only to this environment.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@with_session
def list_promotions(session: Session, state: str, model: str, environment: str, limit: int) -> None:
    """List promotions, newest first."""
    narrowed = {"state": state, "model": model, "environment": environment}
    asked = {name: value for name, value in narrowed.items() if value}
    rows = list(session.client.pages("promotions", params=asked, limit=limit))
    if session.as_json:
        output.show_json(rows)
        return
    output.show_table(
        ["promotion", "version", "environment", "state", "requester", "since", "reason"],
        [
            [
                row["reference"],
                f"{row['model']}@{row['version']}",
                row["environment"],
                output.words(row["state"]),
                row["requester"],
                output.moment(row["updated_at"]),
                row["reason"],
            ]
            for row in rows
        ],
        empty="No promotions.",
    )


@group.command("show")
@click.argument("reference", metavar="PR-NUMBER")
@with_session
def show_promotion(session: Session, reference: str) -> None:
    """Show one promotion with its checks and reviews."""
    number = reference.upper().removeprefix("PR-")
    if not number.isdecimal():
        raise UsageError(f"{reference!r} is no promotion; write PR-12 or 12.")
    promotion = session.client.get(f"promotions/{number}")
    if session.as_json:
        output.show_json(promotion)
    else:
        _show(promotion)


@click.command()
@click.argument("target", metavar="DEPLOYMENT|MODEL")
@click.option("--env", "environment", default="", help="The environment, where TARGET is a model.")
@click.option("--reason", required=True, help="Why it goes back; it stands in the audit log.")
@click.option(
    "--to-version",
    type=click.IntRange(min=1),
    default=None,
    help="Another member of the rollback set than the newest.",
)
@with_session
def rollback(
    session: Session, target: str, environment: str, reason: str, to_version: int | None
) -> None:
    """Serve the version from before again. Nothing is prepared and nobody has to approve."""
    client = session.client
    name = _deployment_name(client, target, environment)
    address = f"deployments/{part(name)}"
    body = {"reason": reason, "to_version": to_version}
    revision = client.post(f"{address}/rollback", body)["revision"]
    deployment = _confirmed(client, address, revision["number"])
    if session.as_json:
        output.show_json(deployment)
        return
    revision = deployment["revision"]
    stable = revision["stable"]
    serves = f"version {stable}" if stable else "nothing: there is no version from before"
    click.echo(f"{name} serves {serves} since revision {revision['number']}.")
    if not _is_everywhere(deployment):
        raise GatehouseError(
            f"Not every gateway has confirmed it within {_SETTLE_SECONDS} seconds; "
            f"look with: gatehouse deployments show {name}"
        )


def _deployment_name(client: Client, target: str, environment: str) -> str:
    """Return the deployment that is meant, by its own name or by model and environment.

    Raises:
        UsageError: none is, or several are.
    """
    rows = [
        row
        for row in client.pages("deployments")
        if not environment or row["environment"] == environment
    ]
    if any(row["name"] == target for row in rows):
        return target
    found = [row for row in rows if row["model"] == target]
    if len(found) == 1:
        return str(found[0]["name"])
    if found:
        names = ", ".join(row["environment"] for row in found)
        raise UsageError(f"{target} is deployed in several environments; add --env: {names}.")
    where = f" in {environment}" if environment else ""
    raise GatehouseError(f"There is no deployment of {target}{where} that you may see.")


def _confirmed(client: Client, address: str, revision_number: int) -> Mapping[str, Any]:
    """Return the deployment once every gateway routes by the revision, or after 30 seconds."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        deployment: Mapping[str, Any] = client.get(address)
        is_current = deployment["revision"]["number"] >= revision_number
        if (is_current and _is_everywhere(deployment)) or time.monotonic() > deadline:
            return deployment
        time.sleep(0.3)


def _is_everywhere(deployment: Mapping[str, Any]) -> bool:
    wanted = deployment["revision"]["routing_revision"]
    return all((gateway["routing_revision"] or 0) >= wanted for gateway in deployment["gateways"])


def _show(promotion: Mapping[str, Any]) -> None:
    output.show_record(
        {
            "promotion": promotion["reference"],
            "version": f"{promotion['model']}@{promotion['version']}",
            "replaces": promotion["replaces"] and f"version {promotion['replaces']}",
            "to": promotion["environment"],
            "state": output.words(promotion["state"]),
            "requester": promotion["requester"],
            "reason": promotion["reason"],
            "strategy": promotion["plan"].get("strategy"),
            "waits for": promotions.missing_reviews(promotion),
            "digest": promotion["subject_digest"][:12],
            "closed because": promotion["closed_because"],
            "address": promotion["url"],
        }
    )
    for title, columns, rows in _tables(promotion):
        if rows:
            click.echo(f"\n{title}")
            output.show_table(columns, rows, empty="")


def _tables(promotion: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    gates = promotion["gates"]
    yield (
        "Checks",
        ["check", "outcome", "says"],
        [[gate["title"], gate["outcome"], gate["sentence"]] for gate in gates],
    )
    yield "Look at", ["point"], [[item["text"]] for item in promotion["deviations"]]
    yield (
        "Reviews",
        ["who", "slot", "verdict", "at", "text"],
        [
            [
                review["reviewer"],
                review["slot"],
                output.words(review["verdict"]),
                output.moment(review["voted_at"]),
                review["text"],
            ]
            for review in promotion["reviews"]
        ],
    )


def _news(promotion: Mapping[str, Any]) -> str:
    """Return the new state as a line of progress."""
    clock = time.strftime("%H:%M:%S")
    missing = promotions.missing_reviews(promotion)
    more = {
        "in_review": f", waits for {', '.join(missing)}" if missing else "",
        "executing": ", the rollout is under way",
    }.get(promotion["state"], "")
    return f"{clock}  {promotion['reference']} {output.words(promotion['state'])}{more}"


def _verdict(promotion: Mapping[str, Any]) -> str:
    """Return how it ended, with the reasons that somebody gave."""
    subject = f"{promotion['model']}@{promotion['version']}"
    outcome = promotions.outcome(promotion)
    where = promotion["environment"]
    because = promotion["closed_because"]
    texts = [
        f"{review['reviewer']}: {review['text']}"
        for review in promotion["reviews"]
        if review["verdict"] in {"reject", "request_changes"}
    ]
    if outcome is Exit.DONE:
        return f"{subject} is live in {where}."
    if outcome is Exit.GATE_FAILED:
        return "\n".join(
            [
                f"{subject} does not pass every check.",
                *(f"- {line}" for line in promotions.failed_gates(promotion)),
            ]
        )
    if outcome is Exit.STILL_WAITING:
        state = output.words(promotion["state"])
        return f"{promotion['reference']} is still {state} at the time-out; it goes on without us."
    state = output.words(promotion["state"])
    details = texts or ([because] if because else [])
    return "\n".join([f"{promotion['reference']} is {state}.", *(f"- {line}" for line in details)])
