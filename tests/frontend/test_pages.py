"""Every page with records that the product made: who sees it, what it says, what it refuses."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from controlplane.core.actor import Actor
from deployments.models import Rollout
from frontend.middleware import POLICY
from registry.models import PromotionRequest
from registry.services import promotions
from tests import make
from tests.frontend.page_tools import HTMX, SignIn, as_role, at, text_of, under_way
from tests.rooms import Room

# The ledger outlives the other tables between tests, so its entries are counted from a mark.
pytestmark = pytest.mark.django_db(databases=["default", "ledger"])
# A refusal is recorded in a transaction of its own, so its test needs real ones.
refusal = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])

QUERIES = 25

PAGES = [
    "", "models/", "models/reader/", "models/reader/versions/1/", "datasets/", "promotions/",
    "promotions/1/", "promotions/1/sign/", "promotions/new/", "rollouts/", "queue/", "runs/",
    "audit/", "me/", "find/?q=reader",
]  # fmt: skip


def test_every_page_keeps_its_budgets_and_the_content_policy(room: Room, browser: SignIn) -> None:
    room.requested()
    client = browser(room.approver)
    for page in PAGES:
        client.get(at(room, page))
        with CaptureQueriesContext(connection) as asked:
            answer = client.get(at(room, page))
        text = answer.content.decode()
        assert answer.status_code == 200, page
        assert len(asked) <= QUERIES, (page, [query["sql"][:150] for query in asked])
        assert answer["Content-Security-Policy"] == POLICY
        assert not re.search(r"\sstyle\s*=", text), page
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), page
        assert text.count("<h1") == 1, page
        assert len(re.findall(r"<[a-z]", text)) <= 1500, page


def test_a_page_asks_strangers_to_sign_in_and_leads_back(room: Room) -> None:
    client = Client()
    answer = client.get(at(room, "models/?q=a"))
    assert answer.status_code == 302
    assert answer["Location"] == f"/login/?next=%2Fw%2F{room.workspace.key}%2Fmodels%2F%3Fq%3Da"

    sent = {"username": make.user_of(room.approver).username, "password": make.PASSWORD}
    assert client.post(answer["Location"], sent)["Location"] == at(room, "models/?q=a")


def test_signing_in_never_leads_to_another_site(room: Room) -> None:
    sent = {"username": make.user_of(room.approver).username, "password": make.PASSWORD}
    answer = Client().post("/login/?next=https://elsewhere.example/", sent)
    assert answer["Location"] == "/"


@refusal
def test_a_wrong_password_says_nothing_about_the_name(room: Room) -> None:
    name = make.user_of(room.approver).username
    answers = [
        Client().post("/login/", {"username": who, "password": "wrong-wrong-wrong"})
        for who in (name, "nobody-of-that-name")
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert all("do not belong together" in text_of(answer) for answer in answers)


def test_a_fragment_sends_the_whole_page_to_sign_in_once_the_session_is_over(room: Room) -> None:
    shown_at = f"http://testserver{at(room, 'queue/')}"
    answer = Client().get(at(room, "queue/"), headers={**HTMX, "HX-Current-URL": shown_at})
    assert answer.status_code == 204
    assert answer["HX-Redirect"].startswith("/login/?next=")


def test_signing_out_ends_the_session(room: Room, browser: SignIn) -> None:
    client = browser(room.approver)
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get(at(room)).status_code == 302


def test_short_addresses_lead_into_the_workspace_used_last(room: Room, browser: SignIn) -> None:
    client = browser(room.approver)
    assert client.get("/")["Location"] == at(room)
    assert client.get("/runs/?experiment=3")["Location"] == at(room, "runs/?experiment=3")


def test_another_workspace_looks_like_one_that_does_not_exist(room: Room, browser: SignIn) -> None:
    elsewhere = Room()
    client = browser(room.approver)
    there = client.get(at(elsewhere, "models/"))
    nowhere = client.get("/w/no-such-place/models/")
    assert (there.status_code, nowhere.status_code) == (404, 404)
    assert text_of(there).replace(elsewhere.workspace.key, "X") == text_of(nowhere).replace(
        "no-such-place", "X"
    )


def test_a_record_that_is_not_there_is_a_page_with_a_way_on(room: Room, browser: SignIn) -> None:
    answer = browser(room.approver).get(at(room, "promotions/77/"))
    assert answer.status_code == 404
    assert "There is no promotion PR-77." in text_of(answer)
    assert 'href="/promotions/"' in text_of(answer)


def test_home_counts_what_needs_the_reader(room: Room, browser: SignIn) -> None:
    room.requested()
    assert "<h1>1 thing needs you</h1>" in text_of(browser(room.approver).get(at(room)))
    assert "<h1>Nothing needs you</h1>" in text_of(browser(as_role(room, "viewer")).get(at(room)))


def test_home_tells_the_requester_that_a_check_stands_against_the_request(
    room: Room, browser: SignIn
) -> None:
    made = promotions.request(room.version, room.production, actor=room.engineer)
    promotions.check(made.pk, actor=Actor.system("gatekeeper"))
    assert "A check stands against it." in text_of(browser(room.engineer).get(at(room)))


def test_the_models_table_alone_answers_a_changed_filter(room: Room, browser: SignIn) -> None:
    client = browser(room.approver)
    headers = {**HTMX, "HX-Target": "models-table"}
    found = text_of(client.get(at(room, "models/?q=read"), headers=headers))
    assert found.lstrip().startswith('<div id="models-table">') or "<html" not in found
    assert "reader" in found
    none = text_of(client.get(at(room, "models/?q=zzz"), headers=headers))
    assert "No model matches" in none


def test_the_review_page_answers_what_an_approver_asks(room: Room, browser: SignIn) -> None:
    promotion = room.requested()
    text = text_of(browser(room.approver).get(at(room, "promotions/1/")))
    assert "4 of 4 passed" in text
    assert "You may sign as ML reviewer" in text
    assert "First version of reader in Production" in text
    assert "The evaluated files are these files" in text
    assert "Trained or registered this version." in text
    assert "Rolling back leaves the address empty" in text
    assert f"Approve {promotion.subject_digest[:8]}…" in text


def test_the_author_sees_why_they_cannot_approve_and_no_button_that_works(
    room: Room, browser: SignIn
) -> None:
    room.requested()
    text = text_of(browser(room.engineer).get(at(room, "promotions/1/")))
    assert "so another person must decide." in text
    assert at(room, "promotions/1/sign/") not in text


def test_an_approval_is_signed_with_the_password_and_leaves_its_seal(
    room: Room, browser: SignIn
) -> None:
    promotion = room.requested()
    client = browser(room.approver)
    page = text_of(client.get(at(room, "promotions/1/sign/")))
    assert f"Sign and approve {promotion.subject_digest[:8]}" in page

    sent = {"digest": promotion.subject_digest, "password": make.PASSWORD, "comment": "Seen."}
    answer = client.post(at(room, "promotions/1/sign/"), sent)

    assert answer["Location"] == at(room, "promotions/1/")
    promotion.refresh_from_db()
    assert promotion.state == "approved"
    record = text_of(client.get(at(room, "promotions/1/")))
    assert "Seen." in record
    assert "being sealed" in record


@refusal
def test_a_wrong_password_signs_nothing_and_keeps_the_comment(room: Room, browser: SignIn) -> None:
    promotion = room.requested()
    sent = {"digest": promotion.subject_digest, "password": "wrong", "comment": "Kept words"}
    answer = browser(room.approver).post(at(room, "promotions/1/sign/"), sent)
    assert answer.status_code == 422
    assert "Kept words" in text_of(answer)
    assert "wrong" not in re.findall(r'name="password"[^>]*', text_of(answer))[0]
    assert promotion.reviews.count() == 0


@refusal
def test_signing_something_else_than_what_is_there_now_is_refused_with_the_comment_kept(
    room: Room, browser: SignIn
) -> None:
    promotion = room.requested()
    seen = promotion.subject_digest
    room.evaluate(room.version, accuracy="0.93")
    sent = {"digest": seen, "password": make.PASSWORD, "comment": "Kept words"}
    answer = browser(room.approver).post(at(room, "promotions/1/sign/"), sent)
    assert answer.status_code == 409
    assert "What you read has changed." in text_of(answer)
    assert "its evaluation changed" in text_of(answer)
    assert "Kept words" in text_of(answer)


@refusal
def test_an_author_who_posts_an_approval_anyway_is_refused_and_recorded(
    room: Room, browser: SignIn
) -> None:
    promotion = room.requested()
    before = make.audited(promotion, "promotion.approve", "refused")
    make.give(make.user_of(room.engineer), "reviewer_ml", room.workspace)
    sent = {"digest": promotion.subject_digest, "password": make.PASSWORD, "comment": ""}
    answer = browser(room.engineer).post(at(room, "promotions/1/sign/"), sent)
    assert answer.status_code == 403
    assert make.audited(promotion, "promotion.approve", "refused") == before + 1


@refusal
def test_rejecting_needs_a_reason_that_helps(room: Room, browser: SignIn) -> None:
    promotion = room.requested()
    client = browser(room.approver)
    sent = {"digest": promotion.subject_digest, "text": "No."}
    refused = client.post(at(room, "promotions/1/reject/"), sent)
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in text_of(refused)

    sent["text"] = "The holdout misses every sample of the second scanner."
    assert client.post(at(room, "promotions/1/reject/"), sent).status_code == 302
    promotion.refresh_from_db()
    assert promotion.state == "rejected"
    assert "This request was rejected." in text_of(client.get(at(room, "promotions/1/")))


@refusal
def test_a_step_that_is_not_offered_is_refused_by_the_service_and_recorded(
    room: Room, browser: SignIn
) -> None:
    promotion = room.requested()
    before = make.audited(promotion, "promotion.reject", "refused")
    viewer = as_role(room, "viewer")
    sent = {"digest": promotion.subject_digest, "text": "x" * 30}
    answer = browser(viewer).post(at(room, "promotions/1/reject/"), sent)
    assert answer.status_code == 403
    assert make.audited(promotion, "promotion.reject", "refused") == before + 1


def test_a_comment_joins_the_discussion(room: Room, browser: SignIn) -> None:
    room.requested()
    client = browser(room.approver)
    client.post(at(room, "promotions/1/comment/"), {"text": "Which scanner is this?"})
    assert "Which scanner is this?" in text_of(client.get(at(room, "promotions/1/")))
    assert client.post(at(room, "promotions/1/comment/"), {"text": " "}).status_code == 422


@refusal
def test_a_promotion_is_opened_from_a_versions_page(room: Room, browser: SignIn) -> None:
    client = browser(room.engineer)
    page = text_of(client.get(at(room, "models/reader/versions/1/")))
    address = at(room, "promotions/new/?model=reader&amp;version=1")
    assert address in page
    sent = {"version": room.version.pk, "environment": room.production.pk, "reason": "Better."}
    answer = client.post(at(room, "promotions/new/"), sent)
    assert answer["Location"] == at(room, "promotions/1/")
    again = client.post(at(room, "promotions/new/"), sent)
    assert again.status_code == 422
    assert "PR-1" in text_of(again)


def test_a_rollout_is_watched_and_taken_back_with_a_reason(room: Room, browser: SignIn) -> None:
    rollout = under_way(room)
    before = make.audited(rollout, "rollout.roll_back")
    client = browser(as_role(room, "operator"))
    page = text_of(client.get(at(room, f"rollouts/{rollout.pk}/")))
    assert "Abort and roll back…" in page
    assert "Nodes load v1 and try it." in page

    answer = client.post(
        at(room, f"rollouts/{rollout.pk}/roll_back/"),
        {"reason": "Customers are affected.", "seen": "Answers of zero."},
    )
    assert answer["Location"] == at(room, f"rollouts/{rollout.pk}/")
    rollout.refresh_from_db()
    assert rollout.state in {"rolling_back", "rolled_back"}
    assert make.audited(rollout, "rollout.roll_back") == before + 1


def test_a_moving_rollout_asks_for_itself_and_stops_asking_at_its_end(
    room: Room, browser: SignIn
) -> None:
    rollout = under_way(room)
    client = browser(room.approver)
    moving = client.get(at(room, f"rollouts/{rollout.pk}/"), headers=HTMX)
    assert (moving.status_code, 'data-poll="2"' in text_of(moving)) == (200, True)
    assert "<html" not in text_of(moving)
    Rollout.objects.filter(pk=rollout.pk).update(state="rolled_back")
    ended = client.get(at(room, f"rollouts/{rollout.pk}/"), headers=HTMX)
    assert (ended.status_code, "data-poll" in text_of(ended)) == (286, False)


@refusal
def test_whoever_only_watches_gets_no_lever(room: Room, browser: SignIn) -> None:
    rollout = under_way(room)
    before = make.audited(rollout, "rollout.roll_back", "refused")
    client = browser(as_role(room, "viewer"))
    assert "You may watch." in text_of(client.get(at(room, f"rollouts/{rollout.pk}/")))
    answer = client.post(
        at(room, f"rollouts/{rollout.pk}/roll_back/"), {"reason": "Customers are affected."}
    )
    assert answer.status_code == 403
    assert make.audited(rollout, "rollout.roll_back", "refused") == before + 1


@refusal
def test_the_audit_log_filters_by_object_outcome_and_person(room: Room, browser: SignIn) -> None:
    promotion = room.requested()
    with pytest.raises(Exception, match="no review slot"):
        room.approve(promotion, as_role(room, "viewer"))
    client = browser(as_role(room, "workspace_admin"))
    about = text_of(client.get(at(room, "audit/?object=PR-1")))
    assert "promotion.submit" in about
    assert "<code>version.seal</code>" not in about
    denied = text_of(client.get(at(room, "audit/?object=PR-1&outcome=refused")))
    assert "denied" in denied
    assert "<code>promotion.submit</code>" not in denied
    nothing = text_of(client.get(at(room, "audit/?object=PR-99")))
    assert "No entry matches" in nothing


def test_an_entry_opens_beside_the_list_with_its_canonical_bytes(
    room: Room, browser: SignIn
) -> None:
    room.requested()
    client = browser(as_role(room, "workspace_admin"))
    listed = client.get(at(room, "audit/?object=PR-1")).content.decode()
    address = re.search(r'href="(/w/[^"]+/audit/[0-9a-f-]{36}/)', listed)
    assert address
    entry = text_of(client.get(address[1]))
    assert "&quot;action&quot;: &quot;promotion." in entry
    assert "PR-1" in entry


def test_without_the_right_to_the_log_one_sees_ones_own_acts_only(
    room: Room, browser: SignIn
) -> None:
    room.requested()
    viewer = as_role(room, "viewer")
    text = text_of(browser(viewer).get(at(room, "audit/")))
    assert "promotion.submit</code>" not in text
    assert 'href="' + at(room, "audit/") + '" data-go="a"' not in text


def test_only_readers_of_the_log_may_have_it_verified(room: Room, browser: SignIn) -> None:
    assert browser(as_role(room, "viewer")).post(at(room, "audit/verify/")).status_code == 403


def test_a_token_is_shown_once_and_can_be_revoked(room: Room, browser: SignIn) -> None:
    client = browser(room.engineer)
    made = client.post(at(room, "me/"), {"name": "Laptop", "days": "7", "scopes": "view"})
    secret = re.search(r"gh_human_\w+", made.content.decode())
    assert secret
    later = client.get(at(room, "me/")).content.decode()
    assert secret[0] not in later
    assert "Laptop" in later
    address = re.search(r'action="([^"]+/revoke/)"', later)
    assert address
    client.post(address[1])
    assert "revoked" in text_of(client.get(at(room, "me/")))


def test_search_finds_what_the_reader_may_see_and_nothing_else(room: Room, browser: SignIn) -> None:
    elsewhere = Room()
    elsewhere.requested()
    room.requested()
    found = browser(room.approver).get(at(room, "search?q=read")).json()["groups"]
    hits = [item for group in found for item in group["items"]]
    assert {group["name"] for group in found} >= {"Actions", "Models"}
    assert all(item["url"].startswith(at(room)) for item in hits)
    number = browser(room.approver).get(at(room, "search?q=PR-1")).json()["groups"]
    assert number[0]["items"][0]["url"] == at(room, "promotions/1/")


def test_a_semantic_version_and_an_alias_lead_to_the_number(room: Room, browser: SignIn) -> None:
    room.version.semantic_version = "1.4.0"
    room.version.save(update_fields=["semantic_version"])
    client = browser(room.approver)
    for label in ("1.4.0", "latest"):
        answer = client.get(at(room, f"models/reader/versions/{label}/"))
        assert answer["Location"] == at(room, "models/reader/versions/1/")
    assert client.get(at(room, "models/reader/versions/9.9.9/")).status_code == 404


def test_the_theme_of_the_cookie_is_rendered_by_the_server(room: Room, browser: SignIn) -> None:
    client = browser(room.approver)
    assert 'data-theme="' not in client.get(at(room)).content.decode()[:400]
    switched = client.post("/theme/", {"next": at(room, "models/")})
    assert switched["Location"] == at(room, "models/")
    assert 'data-theme="dark"' in client.get(at(room)).content.decode()[:400]
    client.cookies["theme"] = "<script>"
    assert "<script>" not in client.get(at(room)).content.decode()[:400]


def test_a_form_from_before_signing_in_is_explained(room: Room) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/login/", {"username": "x", "password": "y"})
    assert answer.status_code == 409
    assert "Nothing was changed." in text_of(answer)


def test_a_refusal_inside_a_fragment_is_a_fragment_with_the_same_sentence(
    room: Room, browser: SignIn
) -> None:
    answer = browser(room.approver).get(at(room, "promotions/77/"), headers=HTMX)
    assert answer.status_code == 404
    assert "<html" not in text_of(answer)
    assert "There is no promotion PR-77." in text_of(answer)


def test_lists_do_not_ask_more_for_more_rows(room: Room, browser: SignIn) -> None:
    client = browser(room.approver)

    def asked(page: str) -> int:
        client.get(at(room, page))
        with CaptureQueriesContext(connection) as queries:
            client.get(at(room, page))
        return len(queries)

    room.requested()
    before = {page: asked(page) for page in ("models/reader/", "promotions/", "models/")}
    for number in range(2, 7):
        room.evaluate(room.register(f"weights {number}".encode()))
    PromotionRequest.objects.filter(number=1).update(state="rejected")
    promotions.request(room.register(b"weights 9"), room.production, actor=room.engineer)
    after = {page: asked(page) for page in before}
    assert after == before


def test_only_who_administers_access_is_shown_the_way_there(room: Room, browser: SignIn) -> None:
    admin = make.acting(make.person("workspace_admin", workspace=room.workspace), room.workspace)
    page = f"/w/{room.workspace.key}/"

    assert 'href="/admin/"' in browser(admin).get(page).content.decode()
    assert 'href="/admin/"' not in browser(room.approver).get(page).content.decode()
