"""`gatehouse promote`: every exit status, and what is asked of the server on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from tests.cli.portal import Asked, Portal, page, refusal

Run = Callable[..., Result]
PROMOTE = ("promote", "reader@3", "--to", "production", "--wait")


def promotion(state: str, **more: Any) -> dict[str, Any]:
    return {
        "reference": "PR-7",
        "number": 7,
        "model": "reader",
        "version": 3,
        "environment": "production",
        "replaces": 2,
        "state": state,
        "requester": "ci",
        "reason": "",
        "plan": {"strategy": "canary"},
        "subject_digest": "ab" * 32,
        "closed_because": "",
        "updated_at": "2026-01-02T03:04:05+00:00",
        "url": "http://portal/w/main/promotions/7/",
        "gates": [],
        "slots": [],
        "reviews": [],
        "deviations": [],
        **more,
    }


def opens(portal: Portal, *states: dict[str, Any]) -> None:
    """The request is accepted, and then found in each of these states, one after the other."""
    portal.says("POST", "promotions", (201, promotion("checking")))
    portal.says("GET", "promotions/7", *[(200, state) for state in states])


def test_a_promotion_that_completes_ends_with_0(portal: Portal, run: Run) -> None:
    opens(portal, promotion("in_review"), promotion("executing"), promotion("completed"))
    result = run(*PROMOTE)
    assert result.exit_code == 0
    assert result.stdout == "reader@3 is live in production.\n"


def test_each_state_on_the_way_is_told_once_on_stderr(portal: Portal, run: Run) -> None:
    waiting = promotion("in_review", slots=[{"slot": "ml", "quorum": 2, "missing": 1}])
    opens(portal, waiting, waiting, promotion("completed"))
    lines = run(*PROMOTE).stderr.splitlines()
    assert lines[0] == "PR-7 is open: http://portal/w/main/promotions/7/"
    assert [line[10:] for line in lines[1:]] == [
        "PR-7 checking",
        "PR-7 in review, waits for ml (1 of 2)",
        "PR-7 completed",
    ]


def test_the_body_names_version_and_reason_and_the_request_has_a_key(
    portal: Portal, run: Run
) -> None:
    opens(portal, promotion("completed"))
    run(*PROMOTE, "--reason", "Better on faint ink", "--link", "https://example.org/1")
    [asked] = portal.requests("POST", "promotions")
    assert asked.json == {
        "model": "reader",
        "version": 3,
        "environment": "production",
        "reason": "Better on faint ink",
        "link": "https://example.org/1",
        "strategy": "",
    }
    assert len(asked.headers["Idempotency-Key"]) == 32
    assert asked.headers["Authorization"] == "Bearer gh_service_x"


def test_it_waits_on_the_server_and_says_which_state_it_has_seen(portal: Portal, run: Run) -> None:
    opens(portal, promotion("completed"))
    run(*PROMOTE)
    [asked] = portal.requests("GET", "promotions/7")
    assert asked.path.endswith("?seen=checking")
    assert asked.headers["Prefer"] == "wait=25"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("rejected", 11),
        ("changes_requested", 12),
        ("expired", 13),
        ("withdrawn", 13),
        ("rolled_back", 16),
    ],
)
def test_an_end_that_is_no_success_has_its_own_status_and_reason(
    portal: Portal, run: Run, state: str, status: int
) -> None:
    opens(portal, promotion(state, closed_because="Ink of scanner B is missing."))
    result = run(*PROMOTE)
    assert result.exit_code == status
    assert f"PR-7 is {state.replace('_', ' ')}." in result.stdout
    assert "Ink of scanner B is missing." in result.stdout


def test_the_reviewers_words_are_shown_when_changes_are_requested(portal: Portal, run: Run) -> None:
    review = {"reviewer": "approver", "verdict": "request_changes", "text": "Evaluate faint ink."}
    opens(portal, promotion("changes_requested", reviews=[review]))
    assert "- approver: Evaluate faint ink." in run(*PROMOTE).stdout


def test_a_failed_gate_ends_with_14_and_names_it(portal: Portal, run: Run) -> None:
    gates = [
        {"title": "Accuracy floor", "outcome": "pass", "sentence": "0.97 is above 0.90."},
        {"title": "Not worse", "outcome": "fail", "sentence": "3 points worse than version 2."},
    ]
    opens(portal, promotion("blocked", gates=gates))
    result = run(*PROMOTE)
    assert result.exit_code == 14
    assert "- Not worse: 3 points worse than version 2." in result.stdout
    assert "Accuracy floor" not in result.stdout


def test_still_waiting_at_the_time_out_ends_with_15_in_time(portal: Portal, run: Run) -> None:
    opens(portal, promotion("in_review"))
    started = time.monotonic()
    result = run(*PROMOTE, "--timeout", "1")
    assert result.exit_code == 15
    assert "still in review at the time-out" in result.stdout
    assert 0.9 < time.monotonic() - started < 3


def test_a_refusal_ends_with_10_the_servers_sentence_and_the_request(
    portal: Portal, run: Run
) -> None:
    portal.says("POST", "promotions", refusal(403, "You may not propose promotions of reader."))
    result = run(*PROMOTE)
    assert result.exit_code == 10
    assert result.stderr == "You may not propose promotions of reader.\nRequest req-7\n"
    assert result.stdout == ""


def test_any_other_error_ends_with_1_and_its_reasons(portal: Portal, run: Run) -> None:
    portal.says(
        "POST", "promotions", refusal(404, "There is no model named 'reader'.", reasons=["Look."])
    )
    result = run(*PROMOTE)
    assert result.exit_code == 1
    assert result.stderr == "There is no model named 'reader'.\n- Look.\nRequest req-7\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "reader", "--to", "production"),
        ("promote", "reader@0", "--to", "production"),
        ("promote", "reader@latest", "--to", "production"),
        ("promote", "reader@3"),
        ("promote", "reader@3", "--to", "production", "--strategy", "big-bang"),
        ("promote", "reader@3", "--to", "production", "--timeout", "soon"),
    ],
)
def test_wrong_usage_ends_with_2_and_asks_the_server_nothing(
    portal: Portal, run: Run, arguments: tuple[str, ...]
) -> None:
    assert run(*arguments).exit_code == 2
    assert portal.asked == []


def test_asking_again_follows_the_request_that_is_open(portal: Portal, run: Run) -> None:
    portal.says("POST", "promotions", refusal(409, "PR-7 (version 3) asks already."))
    portal.says("GET", "promotions", page(promotion("in_review")))
    portal.says("GET", "promotions/7", (200, promotion("in_review")), (200, promotion("completed")))
    result = run(*PROMOTE)
    assert result.exit_code == 0
    assert "PR-7 stands for this version already" in result.stderr


def test_another_versions_open_request_is_an_error(portal: Portal, run: Run) -> None:
    portal.says("POST", "promotions", refusal(409, "PR-6 (version 2) asks already."))
    portal.says("GET", "promotions", page(promotion("in_review", version=2)), page())
    result = run(*PROMOTE)
    assert result.exit_code == 1
    assert "PR-6 (version 2) asks already." in result.stderr


@pytest.mark.parametrize(("live", "status"), [(3, 0), (2, 1)])
def test_a_version_that_is_live_already_is_done_and_one_that_was_is_not(
    portal: Portal, run: Run, live: int, status: int
) -> None:
    portal.says("POST", "promotions", refusal(409, "Refused."))
    portal.says("GET", "promotions", page(), page(promotion("completed")))
    portal.says("GET", "promotions/7", (200, promotion("completed")))
    deployment = {"name": "reader-production", "model": "reader", "environment": "production"}
    portal.says("GET", "deployments", page(deployment))
    portal.says(
        "GET", "deployments/reader-production", (200, {"revision": {"number": 4, "stable": live}})
    )
    assert run(*PROMOTE).exit_code == status


def test_without_wait_it_ends_with_0_once_the_request_is_open(portal: Portal, run: Run) -> None:
    portal.says("POST", "promotions", (201, promotion("checking")))
    result = run(*PROMOTE[:-1])
    assert result.exit_code == 0
    assert "checking" in result.stdout
    assert portal.requests("GET", "promotions/7") == []


def test_with_json_stdout_is_the_promotion_and_nothing_else(portal: Portal, run: Run) -> None:
    opens(portal, promotion("rolled_back"))
    result = run(*PROMOTE, "--json")
    assert json.loads(result.stdout)["state"] == "rolled_back"
    assert result.exit_code == 16


def test_a_server_that_is_away_for_a_moment_does_not_end_the_wait(
    portal: Portal, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatehouse_cli.promotions._PAUSE_SECONDS", 0.05)
    portal.says("POST", "promotions", (201, promotion("checking")))
    portal.says(
        "GET",
        "promotions/7",
        (503, b"<html>no upstream</html>"),
        refusal(503, "The database restarts."),
        (200, promotion("completed")),
    )
    result = run(*PROMOTE)
    assert result.exit_code == 0
    assert result.stderr.count("Asking again.") == 1


def test_a_broken_connection_repeats_the_request_under_the_same_key(
    portal: Portal, run: Run
) -> None:
    def breaks(asked: Asked) -> Any:
        raise ConnectionAbortedError

    portal.says("POST", "promotions", breaks, (201, promotion("checking")))
    opened = run(*PROMOTE[:-1])
    first, second = portal.requests("POST", "promotions")
    assert opened.exit_code == 0
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body


def test_rollback_finds_the_deployment_of_a_model_and_waits_for_every_gateway(
    portal: Portal, run: Run
) -> None:
    row = {"name": "reader-production", "model": "reader", "environment": "production"}
    portal.says("GET", "deployments", page(row, {**row, "name": "r2", "environment": "staging"}))
    revision = {"number": 5, "stable": 2, "routing_revision": 9}
    slow = {"revision": revision, "gateways": [{"name": "a", "routing_revision": 8}]}
    done = {"revision": revision, "gateways": [{"name": "a", "routing_revision": 9}]}
    portal.says("POST", "deployments/reader-production/rollback", (200, slow))
    portal.says("GET", "deployments/reader-production", (200, slow), (200, done))
    result = run("rollback", "reader", "--env", "production", "--reason", "Errors rise")
    assert result.exit_code == 0
    assert result.stdout == "reader-production serves version 2 since revision 5.\n"
    [asked] = portal.requests("POST", "deployments/reader-production/rollback")
    assert asked.json == {"reason": "Errors rise", "to_version": None}
    assert len(portal.requests("GET", "deployments/reader-production")) == 2


def test_rollback_of_a_model_in_two_environments_asks_which(portal: Portal, run: Run) -> None:
    row = {"name": "reader-production", "model": "reader", "environment": "production"}
    portal.says("GET", "deployments", page(row, {**row, "name": "r2", "environment": "staging"}))
    result = run("rollback", "reader", "--reason", "Errors rise")
    assert result.exit_code == 2
    assert "add --env: production, staging" in result.stderr


def test_rollback_that_is_not_permitted_ends_with_10(portal: Portal, run: Run) -> None:
    row = {"name": "reader-production", "model": "reader", "environment": "production"}
    portal.says("GET", "deployments", page(row))
    portal.says(
        "POST", "deployments/reader-production/rollback", refusal(403, "You may not operate it.")
    )
    assert run("rollback", "reader-production", "--reason", "no").exit_code == 10


def test_promotions_are_listed_as_aligned_columns(portal: Portal, run: Run) -> None:
    portal.says("GET", "promotions", page(promotion("in_review", reason="Better")))
    header, row = run("promotions", "list").stdout.splitlines()
    assert header.split() == [
        "PROMOTION",
        "VERSION",
        "ENVIRONMENT",
        "STATE",
        "REQUESTER",
        "SINCE",
        "REASON",
    ]
    assert header.index("STATE") == row.index("in review")
    assert portal.asked[0].path == "/api/v1/promotions/?state=open&limit=50"
