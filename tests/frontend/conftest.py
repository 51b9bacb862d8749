"""What the tests of pages share: a room with records, and browsers of people who signed in."""

from __future__ import annotations

import pytest
from django.test import Client

from controlplane.core.actor import Actor
from tests import make
from tests.frontend.page_tools import SignIn
from tests.rooms import Room


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def browser() -> SignIn:
    """Return a browser in which somebody has signed in through the form."""

    def sign_in(actor: Actor) -> Client:
        client = Client()
        answer = client.post(
            "/login/", {"username": make.user_of(actor).username, "password": make.PASSWORD}
        )
        assert answer.status_code == 302, answer.content
        return client

    return sign_in
