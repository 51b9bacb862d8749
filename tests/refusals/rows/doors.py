"""What no service ever sees: addresses, methods and bodies that are not ours."""

from tests.refusals.table import UNREAD, Row

ROWS = [
    Row(
        "an address that does not exist",
        lambda scene: scene.rest("viewer", "GET", "nothing/"),
        *(404, "not_found", "There is nothing at this address."),
        UNREAD,
    ),
    Row(
        "a method that an address does not have",
        lambda scene: scene.rest("engineer", "DELETE", "models/reader/"),
        *(405, "method_not_allowed", "Method"),
        UNREAD,
    ),
    Row(
        "a body of the wrong type",
        lambda scene: scene.rest("engineer", "POST", "promotions/", ["reader", 2]),
        *(400, "invalid", ""),
        UNREAD,
    ),
    Row(
        "a field of the wrong type",
        lambda scene: scene.rest(
            "engineer",
            "POST",
            "promotions/",
            {"model": "reader", "version": "newest", "environment": "staging"},
        ),
        *(400, "invalid", "version: A valid integer is required."),
        UNREAD,
    ),
    Row(
        "a field that nobody asked for",
        lambda scene: scene.rest(
            "engineer", "POST", "models/", {"name": "new", "owner": "somebody-else"}
        ),
        *(400, "invalid", "owner"),
        UNREAD,
    ),
    Row(
        "a page of a list that was not made here",
        lambda scene: scene.rest("viewer", "GET", "models/", {"cursor": "forged"}),
        *(400, "invalid", "This cursor was not made here."),
        UNREAD,
    ),
]
