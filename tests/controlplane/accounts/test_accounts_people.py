"""Workspaces, people and service accounts."""

from __future__ import annotations

import pytest

from controlplane.accounts import services as accounts
from controlplane.accounts import tokens
from controlplane.accounts.models import ApiToken, User, Workspace
from controlplane.audit.models import Event
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound, NotPermitted, NotSignedIn
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])


@pytest.fixture
def space() -> Workspace:
    return make.workspace()


@pytest.fixture
def admin(space: Workspace) -> User:
    return make.person("workspace_admin", workspace=space)


def a_person(actor_of: User, space: Workspace, **more: str) -> User:
    values = {
        "username": make.a_name("ana"),
        "display_name": "Ana",
        "password": make.PASSWORD,
        **more,
    }
    return accounts.create_person(actor=make.acting(actor_of), workspace=space, **values)


def events(action: str, outcome: str = "success") -> int:
    alias = "default" if outcome == "success" else "ledger"
    return Event.objects.using(alias).filter(action=action, outcome=outcome).count()


def test_an_administrator_makes_a_person_who_may_do_nothing_yet(
    space: Workspace, admin: User
) -> None:
    before = events("person.create")
    ana = a_person(admin, space)
    assert ana.check_password(make.PASSWORD)
    assert ana.memberships.get().is_home
    assert events("person.create") == before + 1


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("username", "no spaces allowed", "username"),
        ("username", "", "username"),
        ("password", "short", "too weak"),
        ("password", "1qaz2wsx3edc", "too weak"),
        ("email", "nonsense", "email"),
    ],
)
def test_a_wrong_field_is_named(
    field: str, value: str, sentence: str, space: Workspace, admin: User
) -> None:
    with pytest.raises(Invalid, match=sentence) as caught:
        a_person(admin, space, **{field: value})
    assert field in caught.value.details["fields"]


def test_a_name_is_given_once(space: Workspace, admin: User) -> None:
    ana = a_person(admin, space)
    with pytest.raises(Conflict, match="is taken"):
        a_person(admin, space, username=ana.username)


def test_only_administrators_make_people_and_the_attempt_is_recorded(space: Workspace) -> None:
    engineer = make.person("ml_engineer", workspace=space)
    before = events("person.create", "refused")
    with pytest.raises(NotPermitted):
        a_person(engineer, space)
    assert events("person.create", "refused") == before + 1


def test_a_service_account_has_an_owner_of_the_workspace_and_no_password(
    space: Workspace, admin: User
) -> None:
    robot = accounts.create_service_account(
        actor=make.acting(admin),
        username=make.a_name("ci"),
        display_name="CI",
        owner=admin,
        workspace=space,
    )
    assert not robot.has_usable_password()
    stranger = make.person(workspace=make.workspace())
    with pytest.raises(Invalid, match="active person of the workspace"):
        accounts.create_service_account(
            actor=make.acting(admin),
            username=make.a_name("ci"),
            display_name="CI",
            owner=stranger,
            workspace=space,
        )


def test_a_deactivated_person_is_out_everywhere(space: Workspace, admin: User) -> None:
    ana = a_person(admin, space)
    secret = make.token(ana)
    accounts.deactivate(ana.pk, actor=make.acting(admin), reason="left")
    with pytest.raises(NotSignedIn):
        tokens.authenticate(secret)
    assert not ApiToken.objects.filter(user=ana, revoked_at__isnull=True).exists()
    with pytest.raises(Conflict, match="already"):
        accounts.deactivate(ana.pk, actor=make.acting(admin), reason="left")


def test_who_answers_for_a_service_account_hands_it_over_first(
    space: Workspace, admin: User
) -> None:
    ana = a_person(admin, space)
    robot = make.service_account(workspace=space, owner=ana)
    with pytest.raises(Blocked, match="hand it over first"):
        accounts.deactivate(ana.pk, actor=make.acting(admin), reason="left")
    accounts.hand_over(robot.pk, actor=make.acting(admin), owner=admin, reason="ana leaves")
    accounts.deactivate(ana.pk, actor=make.acting(admin), reason="left")


def test_the_last_administrator_cannot_be_shut_out(space: Workspace, admin: User) -> None:
    with pytest.raises(Blocked, match="Nobody else could administer"):
        accounts.deactivate(admin.pk, actor=make.acting(admin), reason="bye")


def test_people_of_other_workspaces_do_not_exist_here(admin: User) -> None:
    stranger = make.person(workspace=make.workspace())
    with pytest.raises(NotFound) as foreign:
        accounts.deactivate(stranger.pk, actor=make.acting(admin), reason="x")
    with pytest.raises(NotFound) as missing:
        accounts.deactivate(10**9, actor=make.acting(admin), reason="x")
    assert foreign.value.message == missing.value.message


def test_a_guest_is_administered_at_home(space: Workspace, admin: User) -> None:
    guest = make.person(workspace=make.workspace())
    accounts.add_member(guest.pk, actor=make.acting(admin), workspace=space)
    with pytest.raises(NotPermitted, match="at home in another workspace"):
        accounts.deactivate(guest.pk, actor=make.acting(admin), reason="x")


def test_a_person_changes_their_password_knowing_the_old_one(space: Workspace) -> None:
    ana = make.person(workspace=space)
    with pytest.raises(NotPermitted, match="wrong"):
        accounts.change_password(actor=make.acting(ana), old="x", new="another-long-one-1")
    accounts.change_password(actor=make.acting(ana), old=make.PASSWORD, new="another-long-one-1")
    assert User.objects.get(pk=ana.pk).check_password("another-long-one-1")


def test_only_set_up_makes_workspaces_and_resets_passwords(space: Workspace, admin: User) -> None:
    with pytest.raises(NotPermitted):
        accounts.create_workspace(actor=make.acting(admin), key=make.a_name("x"), name="X")
    with pytest.raises(NotPermitted):
        accounts.reset_password(
            admin.pk, actor=make.acting(admin), new="another-long-one-1", reason="x"
        )


@pytest.mark.parametrize("key", ["A", "a", "1a", "a b", "ä", "a" * 41])
def test_a_workspace_key_fits_an_address(key: str) -> None:
    with pytest.raises(Invalid):
        accounts.create_workspace(actor=make.setup(), key=key, name="X")
