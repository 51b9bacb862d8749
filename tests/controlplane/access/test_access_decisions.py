"""May they? One answer, by one rule."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.access import memory, roles
from controlplane.access import services as access
from controlplane.access.models import WorkspaceUserGrant
from controlplane.accounts.models import VERBS, Membership, User, Workspace
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound, NotPermitted
from registry.models import Environment, Model
from tests import make

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])

# The table of domain.md 2.2, written out by hand so that a change of roles.py has to be meant.
EXPECTED = {
    "viewer": {"view"},
    "ml_engineer": {"view", "contribute", "propose"},
    "ci": {"view", "contribute", "propose"},
    "reviewer_ml": {"view", "review_ml", "audit_read"},
    "reviewer_risk": {"view", "review_risk", "audit_read"},
    "reviewer_business": {"view", "review_business", "audit_read"},
    "reviewer_ops": {"view", "review_ops", "audit_read"},
    "operator": {"view", "propose", "operate", "audit_read"},
    "workspace_admin": {"view", "configure", "admin_access", "audit_read"},
    "auditor": {"view", "audit_read"},
}


@pytest.fixture
def space() -> Workspace:
    return make.workspace()


def a_model(space: Workspace, owner: User, name: str = "churn") -> Model:
    return Model.objects.create(workspace=space, name=name, owner=owner)


@pytest.mark.parametrize("role", sorted(EXPECTED))
def test_a_role_gives_exactly_its_verbs(role: str, space: Workspace) -> None:
    user = make.person(role, workspace=space)
    held = {verb for verb in VERBS if access.can(make.acting(user), verb, space).allowed}
    assert held == EXPECTED[role]
    assert access.verbs_on(make.acting(user), space) == EXPECTED[role]


def test_every_role_is_in_the_table_above() -> None:
    assert set(EXPECTED) == set(roles.ROLES)


def test_without_a_grant_nothing_is_allowed(space: Workspace) -> None:
    user = make.person(workspace=space)
    assert access.verbs_on(make.acting(user), space) == frozenset()


def test_being_superuser_opens_nothing(space: Workspace) -> None:
    user = make.person(workspace=space)
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    assert not access.can(make.acting(User.objects.get(pk=user.pk)), "view", space).allowed


def test_the_answer_names_the_role_and_the_grant(space: Workspace) -> None:
    user = make.person(workspace=space)
    grant_id = make.give(user, "operator", space)
    decision = access.can(make.acting(user), "operate", space)
    assert decision.allowed
    assert decision.grant_id == grant_id
    assert decision.reason == "By the role Operator on the workspace."


def test_a_refusal_names_the_verb_the_role_and_who_can_grant_it(space: Workspace) -> None:
    admin = make.person("workspace_admin", workspace=space, display_name="Ada Admin")
    user = make.person("viewer", workspace=space)
    with pytest.raises(NotPermitted, match="it takes the role Operator") as caught:
        access.require(make.acting(user), "operate", space)
    assert caught.value.details["can_grant"] == [str(admin)]


def test_what_one_may_not_see_is_not_found(space: Workspace) -> None:
    user = make.person(workspace=space)
    with pytest.raises(NotFound):
        access.require(make.acting(user), "operate", space)


def test_one_query_answers_and_a_request_remembers_it(space: Workspace) -> None:
    owner = make.person("viewer", "operator", workspace=space)
    model = a_model(space, owner)
    actor = make.acting(owner)
    with CaptureQueriesContext(connection) as queries:
        access.can(actor, "operate", model)
    assert len(queries) == 1
    with CaptureQueriesContext(connection) as queries:
        assert access.verbs_on(actor, model) == {"view", "propose", "operate", "audit_read"}
    assert len(queries) == 1
    with memory.remembering(), CaptureQueriesContext(connection) as queries:
        assert access.can(actor, "operate", model).allowed
        assert not access.can(actor, "configure", model).allowed
        access.verbs_on(actor, model)
    assert len(queries) == 1


def test_a_grant_made_within_a_request_counts_at_once(space: Workspace) -> None:
    user = make.person("viewer", workspace=space)
    with memory.remembering():
        assert not access.can(make.acting(user), "operate", space).allowed
        grant_id = make.give(user, "operator", space)
        assert access.can(make.acting(user), "operate", space).allowed
        make.person("workspace_admin", workspace=space)
        access.revoke(grant_id, actor=make.setup(), reason="over")
        assert not access.can(make.acting(user), "operate", space).allowed


def test_a_grant_above_counts_below_and_not_the_other_way_round(space: Workspace) -> None:
    owner = make.person(workspace=space)
    model = a_model(space, owner)
    other = a_model(space, owner, "other")
    reader = make.person("viewer", workspace=space, on=model)
    assert access.can(make.acting(reader), "view", model).allowed
    assert not access.can(make.acting(reader), "view", other).allowed
    assert not access.can(make.acting(reader), "view", space).allowed
    everywhere = make.person("viewer", workspace=space)
    assert access.can(make.acting(everywhere), "view", model).allowed


def test_a_grant_that_ran_out_no_longer_counts(space: Workspace) -> None:
    user = make.person(workspace=space)
    make.give(user, "viewer", space, expires_at=now() + timedelta(hours=1))
    assert access.can(make.acting(user), "view", space).allowed
    WorkspaceUserGrant.objects.filter(user=user).update(expires_at=now() - timedelta(seconds=1))
    assert not access.can(make.acting(user), "view", space).allowed
    assert not access.visible(Workspace.objects.all(), make.acting(user)).exists()
    assert user not in access.people_with("view", space)
    make.give(user, "viewer", space)
    assert access.can(make.acting(user), "view", space).allowed


def test_group_grants_count_for_those_of_the_group_who_belong_here(space: Workspace) -> None:
    from django.contrib.auth.models import Group

    inside, outside = make.person(workspace=space), make.person(workspace=make.workspace())
    group = Group.objects.create(name=make.a_name("team"))
    group.user_set.add(inside, outside)
    access.grant_to_group(
        actor=make.setup(), group=group, role="operator", on=space, reason="on call"
    )
    assert access.can(make.acting(inside), "operate", space).allowed
    assert not access.can(make.acting(outside, space), "operate", space).allowed
    assert list(access.people_with("operate", space)) == [inside]
    assert access.visible(Workspace.objects.all(), make.acting(inside)).get() == space


def test_nothing_crosses_workspaces(space: Workspace) -> None:
    elsewhere = make.workspace()
    admin = make.person("workspace_admin", "viewer", workspace=elsewhere)
    model = a_model(space, make.person(workspace=space))
    for actor in (make.acting(admin), make.acting(admin, space)):
        assert access.verbs_on(actor, model) == frozenset()
        assert not access.visible(Model.objects.all(), actor).exists()


def test_a_member_of_two_workspaces_acts_in_one_at_a_time(space: Workspace) -> None:
    second = make.workspace()
    user = make.person("operator", workspace=space)
    Membership.objects.create(user=user, workspace=second)
    make.give(user, "viewer", second)
    model = a_model(space, user)
    assert access.can(make.acting(user, space), "operate", model).allowed
    assert not access.can(make.acting(user, second), "view", model).allowed


def test_leaving_a_workspace_ends_every_grant_in_it(space: Workspace) -> None:
    user = make.person("operator", workspace=space)
    Membership.objects.filter(user=user).delete()
    assert not access.can(make.acting(user, space), "view", space).allowed
    assert user not in access.people_with("operate", space)


def test_a_deactivated_account_may_nothing(space: Workspace) -> None:
    user = make.person("operator", workspace=space)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert not access.can(make.acting(user), "view", space).allowed
    assert user not in access.people_with("operate", space)


def test_a_token_narrows_and_never_widens(space: Workspace) -> None:
    user = make.person("ml_engineer", workspace=space)
    narrow = make.acting(user, scopes=["view", "operate"])
    assert access.verbs_on(narrow, space) == {"view"}
    decision = access.can(narrow, "contribute", space)
    assert decision.reason.startswith("This token may not contribute to workspace")
    assert not access.visible(Workspace.objects.all(), narrow, "contribute").exists()
    assert access.visible(Workspace.objects.all(), narrow, "view").exists()


def test_review_means_any_of_the_four_slots(space: Workspace) -> None:
    reviewer = make.person("reviewer_risk", workspace=space)
    actor = make.acting(reviewer)
    assert access.can(actor, "review", space).allowed
    assert access.can(actor, "review_risk", space).allowed
    assert not access.can(actor, "review_ml", space).allowed
    assert access.visible(Workspace.objects.all(), actor, "review").exists()
    assert list(access.people_with("review", space)) == [reviewer]


@pytest.mark.parametrize("verb", ["review", "review_ml", "break_glass"])
def test_a_service_account_never_reviews_or_breaks_glass(verb: str, space: Workspace) -> None:
    robot = make.service_account("ci", workspace=space)
    permission = WorkspaceUserGrant.objects.filter(user=robot).first()
    assert permission is not None
    # Even a row that no service would write opens nothing.
    from django.contrib.auth.models import Permission

    codename = "review_ml" if verb == "review" else verb
    WorkspaceUserGrant.objects.create(
        user=robot,
        content_object=space,
        role="reviewer_ml",
        permission=Permission.objects.get(
            content_type=permission.permission.content_type, codename=codename
        ),
    )
    decision = access.can(make.acting(robot), verb, space)
    assert not decision.allowed
    assert "only a person may" in decision.reason
    assert not access.visible(Workspace.objects.all(), make.acting(robot), verb).exists()
    assert robot not in access.people_with(verb, space)


def test_the_product_itself_never_reviews_proposes_or_breaks_glass(space: Workspace) -> None:
    scheduler = Actor.system("scheduler")
    held = {verb for verb in VERBS if access.can(scheduler, verb, space).allowed}
    assert held == {"view", "contribute", "operate"}
    assert space in access.visible(Workspace.objects.all(), scheduler)
    assert not access.visible(Workspace.objects.all(), scheduler, "review").exists()
    bound = Actor.system("worker", workspace_id=make.workspace().pk)
    assert not access.can(bound, "view", space).allowed


def test_an_auditor_sees_every_workspace_and_changes_none(space: Workspace) -> None:
    auditor = make.person("auditor", workspace=make.workspace())
    model = a_model(space, make.person(workspace=space))
    there = make.acting(auditor, space)
    assert access.verbs_on(there, model) == {"view", "audit_read"}
    assert list(access.visible(Model.objects.all(), there)) == [model]
    assert not access.visible(Model.objects.all(), there, "contribute").exists()
    assert access.can(there, "view", model).reason == "By the role Auditor in every workspace."


def test_visible_rows_are_those_that_can_would_allow(space: Workspace) -> None:
    owner = make.person(workspace=space)
    models = [a_model(space, owner, f"m{number}") for number in range(4)]
    a_model(make.workspace(), owner, "foreign")
    user = make.person(workspace=space)
    make.give(user, "viewer", models[0])
    make.give(user, "operator", models[2])
    actor = make.acting(user)
    for verb in ("view", "operate"):
        one_by_one = [item for item in models if access.can(actor, verb, item).allowed]
        with memory.remembering():
            assert not access.can(actor, verb, space).allowed
            with CaptureQueriesContext(connection) as queries:
                found = list(access.visible(Model.objects.order_by("pk"), actor, verb))
            assert found == one_by_one
            assert len(queries) == 1


def test_who_holds_the_verb_on_the_workspace_sees_all_of_it_and_nothing_else(
    space: Workspace,
) -> None:
    owner = make.person(workspace=space)
    models = [a_model(space, owner, f"m{number}") for number in range(3)]
    a_model(make.workspace(), owner, "foreign")
    for role in ("viewer", "auditor"):
        actor = make.acting(make.person(role, workspace=space))
        assert list(access.visible(Model.objects.order_by("pk"), actor)) == models
        assert not access.visible(Model.objects.all(), actor, "operate").exists()


def test_what_hangs_below_two_objects_is_opened_by_either(space: Workspace) -> None:
    from registry.models import ModelVersion, Policy

    owner = make.person(workspace=space)
    model = a_model(space, owner)
    version = ModelVersion.objects.create(model=model, number=1, registrant=owner)
    environment = Environment.objects.create(
        workspace=space, key="prod", name="Production", kind="prod", guarded_alias="production"
    )
    policy = Policy.objects.create(
        environment=environment, risk_tier="low", number=1, source="", body={}, digest="0"
    )
    user = make.person("operator", workspace=space, on=environment)
    assert access.can(make.acting(user), "operate", policy).allowed
    assert not access.can(make.acting(user), "view", version).allowed


def test_a_class_that_is_not_governed_is_a_mistake_and_not_an_open_door(space: Workspace) -> None:
    user = make.person("viewer", workspace=space)
    with pytest.raises(TypeError, match="no access_parents"):
        access.can(make.acting(user), "view", user)
    with pytest.raises(ValueError, match="no verb"):
        access.can(make.acting(user), "own", space)


def test_use_of_a_grant_is_noted_once_in_five_minutes(space: Workspace) -> None:
    user = make.person("viewer", workspace=space)
    rows = WorkspaceUserGrant.objects.filter(user=user)
    with memory.remembering():
        access.can(make.acting(user), "view", space)
    first = rows.get().last_used_at
    assert first is not None
    actor = make.acting(user)
    with CaptureQueriesContext(connection) as queries, memory.remembering():
        access.can(actor, "view", space)
    assert len(queries) == 1
    rows.update(last_used_at=first - timedelta(minutes=6))
    with memory.remembering():
        access.can(make.acting(user), "view", space)
    assert rows.get().last_used_at >= first


def test_a_role_is_granted_once(space: Workspace) -> None:
    user = make.person("viewer", workspace=space)
    with pytest.raises(Conflict, match="is Viewer here already"):
        make.give(user, "viewer", space)


def test_two_roles_may_give_the_same_verb_and_ending_one_leaves_the_other(
    space: Workspace,
) -> None:
    user = make.person("viewer", workspace=space)
    grant_id = make.give(user, "operator", space)
    make.person("workspace_admin", workspace=space)
    access.revoke(grant_id, actor=make.setup(), reason="off call")
    assert access.verbs_on(make.acting(user), space) == {"view"}


def test_only_administrators_of_access_grant_and_revoke(space: Workspace) -> None:
    admin = make.person("workspace_admin", workspace=space)
    engineer = make.person("ml_engineer", workspace=space)
    newcomer = make.person(workspace=space)
    with pytest.raises(NotPermitted):
        access.grant(
            actor=make.acting(engineer), user=engineer, role="operator", on=space, reason="me"
        )
    grant_id = access.grant(
        actor=make.acting(admin), user=newcomer, role="viewer", on=space, reason="joins"
    )
    with pytest.raises(NotPermitted):
        access.revoke(grant_id, actor=make.acting(engineer), reason="no")
    with pytest.raises(NotFound, match="no such grant"):
        access.revoke(
            grant_id,
            actor=make.acting(make.person("workspace_admin", workspace=make.workspace())),
            reason="no",
        )
    access.revoke(grant_id, actor=make.acting(admin), reason="leaves")
    assert access.verbs_on(make.acting(newcomer), space) == frozenset()


@pytest.mark.parametrize(
    ("role", "sentence"),
    [("king", "There is no role 'king'"), ("auditor", "There is no role 'auditor' to grant")],
)
def test_unknown_and_global_roles_are_not_granted_on_objects(
    role: str, sentence: str, space: Workspace
) -> None:
    user = make.person(workspace=space)
    with pytest.raises(Invalid, match=sentence):
        access.grant(actor=make.setup(), user=user, role=role, on=space, reason="x")


def test_grants_need_a_reason_a_future_and_a_member(space: Workspace) -> None:
    user, stranger = make.person(workspace=space), make.person(workspace=make.workspace())
    robot = make.service_account(workspace=space)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"user": user, "reason": " "}, "Say why"),
        ({"user": user, "reason": "x", "expires_at": now()}, "end before it begins"),
        ({"user": stranger, "reason": "x"}, "does not belong"),
        ({"user": robot, "reason": "x", "role": "reviewer_ml"}, "never reviews"),
    ]
    for arguments, sentence in wrong:
        with pytest.raises(Invalid, match=sentence):
            access.grant(**{"actor": make.setup(), "role": "viewer", "on": space, **arguments})


def test_the_last_administrator_stays(space: Workspace) -> None:
    admin = make.person(workspace=space)
    grant_id = make.give(admin, "workspace_admin", space)
    with pytest.raises(Blocked, match="nobody would be left"):
        access.revoke(grant_id, actor=make.acting(admin), reason="done")
    assert access.can(make.acting(admin), "admin_access", space).allowed


def test_no_administrator_gives_a_role_in_every_workspace(space: Workspace) -> None:
    admin = make.person("workspace_admin", workspace=space)
    with pytest.raises(NotPermitted):
        access.set_global_role(
            actor=make.acting(admin), user=admin, role="auditor", holds=True, reason="me"
        )
