"""Who may not: without a good token, from elsewhere, or without the right."""

from tests.refusals.table import ABSENT, UNREAD, Ask, Row, refused

_BY_TOKEN = [
    ("no token", "", "not_signed_in", "Sign in first"),
    ("a token of another shape", "shapeless", "token_malformed", "not a Gatehouse token"),
    ("a mistyped token", "mistyped", "token_malformed", "mistyped or cut off"),
    ("an unknown token", "unknown", "token_unknown", "unknown here"),
    ("an expired token", "expired", "token_expired", "This token expired on "),
    ("a revoked token", "revoked", "token_revoked", "This token was revoked. Issue a new one."),
]


def _list_as(who: str) -> Ask:
    return lambda scene: scene.rest(who, "GET", "models/")


ROWS = [
    *(
        Row(
            f"REST with {name}",
            _list_as(who),
            *(401, code, says),
            refused("request.refuse"),
        )
        for name, who, code, says in _BY_TOKEN
    ),
    Row(
        "REST with a scheme that is not Bearer",
        lambda scene: scene.rest("", "GET", "models/", Authorization="Basic eA=="),
        *(401, "no_bearer", "Send the token as: Authorization: Bearer"),
        refused("request.refuse"),
    ),
    Row(
        "a model of another workspace",
        lambda scene: scene.rest("stranger", "GET", "models/reader/"),
        *(404, "not_found", "There is no model named 'reader'."),
        ABSENT,
    ),
    Row(
        "a promotion of another workspace",
        lambda scene: scene.rest("stranger", "POST", f"{scene.promotion}withdraw/", {}),
        *(404, "not_found", "There is no promotion"),
        ABSENT,
    ),
    Row(
        "a rollout of another workspace",
        lambda scene: scene.rest("engineer", "GET", f"rollouts/{scene.rollout.pk}/"),
        *(404, "not_found", "There is no rollout"),
        ABSENT,
        given=lambda scene: scene.corner,
    ),
    Row(
        "a header that names another workspace",
        lambda scene: scene.rest(
            "stranger", "GET", "models/", Gatehouse_Workspace=scene.workspace.key
        ),
        *(404, "not_found", "that you belong to."),
        ABSENT,
    ),
    Row(
        "a viewer registers a model",
        lambda scene: scene.rest("viewer", "POST", "models/", {"name": "mine"}),
        *(403, "not_permitted", "contribute"),
        refused("model.create"),
    ),
    Row(
        "a viewer uploads data",
        lambda scene: scene.upload("viewer", "datasets/rows/versions/"),
        *(403, "not_permitted", "contribute"),
        refused("dataset.register"),
    ),
    Row(
        "a viewer starts a training",
        lambda scene: scene.upload("viewer", "training/", **scene.training("print(1)")),
        *(403, "not_permitted", "contribute"),
        refused("request.refuse"),
    ),
    Row(
        "a viewer proposes",
        lambda scene: scene.rest(
            "viewer",
            "POST",
            "promotions/",
            {"model": "reader", "version": 2, "environment": "staging"},
        ),
        *(403, "not_permitted", "propose"),
        refused("promotion.request"),
    ),
    Row(
        "a viewer approves",
        lambda scene: scene.rest(
            "viewer", "POST", f"{scene.promotion}approve/", scene.decision(password="x")
        ),
        *(403, "not_permitted", "review"),
        refused("promotion.approve"),
    ),
    Row(
        "a viewer rolls back",
        lambda scene: scene.rest(
            "viewer", "POST", "deployments/reader-production/rollback/", {"reason": "Looks wrong."}
        ),
        *(403, "not_permitted", "operate"),
        refused("deployment.roll_back"),
    ),
    Row(
        "an engineer changes the policy",
        lambda scene: scene.rest(
            "engineer",
            "POST",
            "environments/production/policies/",
            {"risk_tier": "low", "source": "gates: []", "reason": "In the way."},
        ),
        *(403, "not_permitted", "configure"),
        refused("policy.activate"),
    ),
    Row(
        "an engineer stops a job of nobody",
        lambda scene: scene.rest("engineer", "POST", f"jobs/{'0' * 8}-{'0' * 4}/cancel/"),
        *(404, "not_found", "There is nothing at this address."),
        UNREAD,
    ),
]
