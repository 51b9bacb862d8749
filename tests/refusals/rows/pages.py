"""The pages: the same services, so the same sentences, on a form or on a page of their own."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from tests.make import PASSWORD
from tests.refusals.scene import Scene
from tests.refusals.table import ABSENT, UNREAD, Answer, Ask, Row, heard, refused


def _sign(who: str, digest: str = "", password: str = PASSWORD) -> Ask:
    def ask(scene: Scene) -> Answer:
        seen = digest or scene.waiting.subject_digest
        return scene.page(who, f"{scene.promotion}sign/", digest=seen, password=password)

    return ask


def _signed_in(who: str) -> Callable[[Scene], object]:
    return lambda scene: scene.browser(who)


def _without_token(scene: Scene) -> Answer:
    """Send a form that no page of ours has shown."""
    client = Client(enforce_csrf_checks=True)
    client.cookies = scene.browser("approver").cookies
    form = {"digest": scene.waiting.subject_digest, "password": PASSWORD}
    return heard(client.post(f"/w/{scene.workspace.key}/{scene.promotion}sign/", form))


ROWS = [
    Row(
        "a page without signing in",
        lambda scene: scene.page("", f"{scene.promotion}sign/"),
        *(302, "", "/login/?next="),
        refused("request.refuse"),
    ),
    Row(
        "a wrong password at the door",
        lambda scene: heard(
            Client().post(
                "/login/",
                {"username": scene.people["viewer"].username, "password": "wrong-wrong"},
            )
        ),
        *(422, "", "do not belong together"),
        refused("session.sign_in_failed"),
    ),
    Row(
        "a page of another workspace",
        lambda scene: scene.page("stranger", f"{scene.promotion}sign/"),
        *(404, "", "There is no workspace"),
        ABSENT,
        given=_signed_in("stranger"),
    ),
    Row(
        "a form from another site",
        _without_token,
        *(409, "", "Nothing was changed. Open the page again and repeat it."),
        UNREAD,
        given=_signed_in("approver"),
    ),
    Row(
        "a signature by who trained it",
        _sign("engineer"),
        *(403, "", "so another person must decide."),
        refused("promotion.approve"),
        given=_signed_in("engineer"),
    ),
    Row(
        "a signature by a viewer",
        _sign("viewer"),
        *(403, "", "review"),
        refused("promotion.approve"),
        given=_signed_in("viewer"),
    ),
    Row(
        "a signature with a wrong password",
        _sign("approver", password="not-the-password"),
        *(422, "", "password"),
        refused("signature.give"),
        given=_signed_in("approver"),
    ),
    Row(
        "a signature under something else than what was read",
        _sign("approver", digest="0" * 64),
        *(409, "", "is no longer what would be decided"),
        refused("promotion.approve"),
        given=_signed_in("approver"),
    ),
    Row(
        "a rejection on a page without a text",
        lambda scene: scene.page(
            "approver", f"{scene.promotion}reject/", digest=scene.waiting.subject_digest, text=""
        ),
        *(422, "", "Fill in: reason."),
        UNREAD,
        given=_signed_in("approver"),
    ),
    Row(
        "a rejection on a page by a viewer",
        lambda scene: scene.page(
            "viewer", f"{scene.promotion}reject/", digest=scene.waiting.subject_digest
        ),
        *(403, "", "review"),
        refused("promotion.reject"),
        given=_signed_in("viewer"),
    ),
    Row(
        "a step that does not exist",
        lambda scene: scene.page("approver", f"{scene.promotion}bless/"),
        *(404, "", "There is no step 'bless'."),
        ABSENT,
        given=_signed_in("approver"),
    ),
]
