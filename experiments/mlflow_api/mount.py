"""MLflow's tracking handlers in our own Flask application, each behind its rule.

One request is one transaction: what the handler writes and the event in the ledger are committed
together or not at all. ``mlflow.server.app`` is never used: its routes are not ours to close.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from controlplane.core.errors import DomainError
from controlplane.workflow import services as workflow
from experiments.mlflow_api import database, events, guard, identity, protocol, refused, store

_log = logging.getLogger(__name__)
# Routes that MLflow adds to its application outside get_endpoints().
_MORE_ROUTES = (
    (
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        "get_metric_history_bulk_handler",
        ("GET",),
    ),
    (
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
        "get_metric_history_bulk_interval_handler",
        ("GET",),
    ),
    ("/ajax-api/2.0/mlflow/experiments/search-datasets", "_search_datasets_handler", ("POST",)),
    ("/api/2.0/mlflow/experiments/search-datasets", "_search_datasets_handler", ("POST",)),
)
_SQL_MARKS = ("psycopg2.", "[SQL:", "sqlalche.me", "(Background on this error")


class _Undo(Exception):
    """The handler answered with an error: whatever it wrote is undone, its answer stands."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.response = response


def preload() -> None:
    """Import MLflow and make its application, so that forked workers share the memory.

    Opens no connection that outlives the call; refuses MLflow's tables at another revision.
    """
    application()
    database.require_revision(store.head_revision())


@protocol.door()
def view(request: HttpRequest) -> HttpResponseBase:
    """Hand the request, its body unread, to the Flask application."""
    from werkzeug.test import run_wsgi_app

    environ = dict(request.META)
    # Through Django's request, which reads no further than the announced length.
    environ["wsgi.input"] = request
    environ["SCRIPT_NAME"] = ""
    environ["PATH_INFO"] = request.path
    environ["gatehouse.actor"] = protocol.actor_of(request)
    environ["gatehouse.workspace"] = protocol.workspace_of(request)
    chunks, status, headers = run_wsgi_app(application(), environ, buffered=True)
    response = HttpResponse(b"".join(chunks), status=int(status.split(" ", 1)[0]))
    for name, value in headers:
        response[name] = value
    return response


@cache
def application() -> Any:
    """Return the Flask application with exactly the handlers of ``guard.TABLE``."""
    store.prepare_environment()
    # MLflow asks for its own access control on every search; without this entry the question
    # costs a failing import each time.
    sys.modules.setdefault("mlflow.server.auth", None)  # type: ignore[arg-type]
    from flask import Flask
    from mlflow.server import handlers

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # Its handlers ask this function for the store; ours is made at the first request, after
    # the fork.
    handlers._get_tracking_store = lambda *_, **__: store.tracking_store()
    app = Flask("gatehouse-mlflow", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 64 * 2**20
    for path, handler, methods in served_routes():
        app.add_url_rule(
            path,
            endpoint=f"{' '.join(methods)} {path}",
            view_func=partial(_guarded, handler),
            methods=list(methods),
        )
    app.register_error_handler(404, lambda error: _from_django(refused.response(_path())))
    app.register_error_handler(405, lambda error: _from_django(refused.response(_path())))
    app.register_error_handler(
        413,
        lambda error: _from_django(
            protocol.error("INVALID_PARAMETER_VALUE", "The request is larger than 64 MiB.", 413)
        ),
    )
    return app


def served_routes() -> list[tuple[str, Callable[..., Any], tuple[str, ...]]]:
    """Return (path, handler, methods) of every route of MLflow's whose handler has a rule.

    Raises:
        RuntimeError: a rule names a handler that this MLflow does not have.
    """
    from mlflow.server import handlers

    routes = [
        (path, handler, tuple(methods))
        for path, handler, methods in handlers.get_endpoints()
        if handler.__name__ in guard.TABLE
    ]
    known = {(path, methods) for path, _, methods in routes}
    routes += [
        (path, getattr(handlers, name), methods)
        for path, name, methods in _MORE_ROUTES
        if (path, methods) not in known
    ]
    missing = sorted(set(guard.TABLE) - {handler.__name__ for _, handler, _ in routes})
    if missing:
        raise RuntimeError(f"This MLflow has no handler {', '.join(missing)}.")
    return routes


def _guarded(handler: Callable[..., Any], **arguments: str) -> Any:
    from flask import request as flask_request
    from mlflow.exceptions import MlflowException

    actor: Actor = flask_request.environ["gatehouse.actor"]
    workspace: Workspace = flask_request.environ["gatehouse.workspace"]
    try:
        with identity.acting_as(actor), _mlflow_workspace(workspace.key):
            rule = guard.TABLE[handler.__name__]
            try:
                asked = _read_request(rule, actor, workspace, arguments)
            except MlflowException:
                # Nobody learns that a request was malformed who may not make it.
                access.require(actor, rule.verb, workspace)
                raise
            if not rule.writes:
                guard.check(asked)
                return _cleaned(_response(handler(**arguments)), actor)
            with workflow.refusals(rule.action, actor=actor, obj=asked.subject()):
                guard.check(asked)
            return _cleaned(_write(asked, partial(handler, **arguments)), actor)
    except DomainError as error:
        return _from_django(protocol.refusal(error))
    except MlflowException as error:
        return _from_django(
            protocol.error(error.error_code, error.message, error.get_http_status_code())
        )
    except Exception:
        _log.exception("mlflow_handler_failed request_id=%s path=%s", actor.request_id, _path())
        return _from_django(protocol.unexpected(actor.request_id))


def _write(asked: guard.Request, handler: Callable[[], Any]) -> Any:
    try:
        with store.transaction() as connection:
            before = events.before(asked, connection)
            response = _response(handler())
            if response.status_code >= 400:
                raise _Undo(response)
            events.append(asked, before, response, connection)
    except _Undo as undo:
        return undo.response
    return response


def _read_request(
    rule: guard.Rule, actor: Actor, workspace: Workspace, arguments: dict[str, str]
) -> guard.Request:
    from flask import request as flask_request
    from mlflow.server import handlers

    message = None
    if rule.message:
        message = handlers._get_request_message(getattr(handlers, rule.message)())
    named = [*arguments.items()]
    for key, values in flask_request.args.lists():
        named += [(key, value) for value in values]
    return guard.Request(rule, actor, workspace, message, guard.identifiers(message, named))


@contextmanager
def _mlflow_workspace(key: str) -> Iterator[None]:
    from mlflow.utils.workspace_context import ServerWorkspaceContext

    with ServerWorkspaceContext(key):
        yield


def _response(value: Any) -> Any:
    from flask import current_app

    return current_app.make_response(value)


def _cleaned(response: Any, actor: Actor) -> Any:
    """Return the answer without the SQL that MLflow puts into its messages."""
    if response.status_code < 400:
        return response
    try:
        body = json.loads(response.get_data())
        code, message = str(body["error_code"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        return _from_django(protocol.unexpected(actor.request_id))
    if any(mark in message for mark in _SQL_MARKS):
        _log.warning("mlflow_sql_error request_id=%s %s", actor.request_id, message)
        if code != "RESOURCE_ALREADY_EXISTS":
            return _from_django(
                protocol.error(
                    code,
                    f"The database refused a value of this request. Its id is {actor.request_id}.",
                    response.status_code,
                )
            )
        message = message.partition(" Error: ")[0]
    elif response.status_code == 500:
        _log.error("mlflow_error request_id=%s %s", actor.request_id, message)
        return _from_django(protocol.unexpected(actor.request_id))
    return _from_django(protocol.error(code, message, response.status_code))


def _from_django(response: HttpResponse) -> Any:
    from flask import Response

    return Response(
        response.content,
        status=response.status_code,
        content_type=response["Content-Type"],
    )


def _path() -> str:
    from flask import request as flask_request

    return str(flask_request.path)
