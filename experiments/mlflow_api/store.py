"""MLflow's tracking store as this product uses it: one schema, one transaction per request.

This module and ``mount`` are the only ones that import mlflow, and only inside functions: the
import takes seconds, and most processes never need it.
"""

# Methods of MLflow's stores carry no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from django.db import connections

from experiments.mlflow_api import database, identity
from experiments.services.sealing import CREATOR_TAG

# Another fixed number among the advisory locks: "MLflow's schema is being changed".
_LOCK = 7_236_002
_POOL_SIZE = 9  # one per thread of the web server, and one
_ENVIRONMENT = {
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": str(_POOL_SIZE),
    "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
}
_ARTIFACT_ROOT = "mlflow-artifacts:/"
# Rows of these would be a second registry, or features that are not served.
_TABLES_THAT_STAY_EMPTY = (
    "registered_models",
    "model_versions",
    "registered_model_aliases",
    "webhooks",
    "secrets",
    "endpoints",
    "model_definitions",
    "jobs",
)
_connection: ContextVar[Any] = ContextVar("mlflow_request_connection", default=None)
_making = threading.Lock()
_store: Any = None


def migrate() -> str:
    """Make MLflow's tables or upgrade them, and return the revision they are at.

    Several callers wait for each other on an advisory lock.
    """
    prepare_environment()
    from mlflow.store.db import utils
    from sqlalchemy import create_engine

    lock = connections["migrate"].copy()
    engine = create_engine(database.engine_url("migrate"))
    try:
        with lock.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        if utils._is_empty_database(engine):
            # The upgrade path alone fails on an empty schema.
            utils._initialize_tables(engine)
        elif utils._get_schema_version(engine) != head_revision():
            utils._upgrade_db(engine)
        with engine.begin() as connection:
            _keep_empty(connection)
    finally:
        engine.dispose()
        lock.close()
    return head_revision()


@cache
def head_revision() -> str:
    """Return the revision that the installed MLflow was written for."""
    from mlflow.store.db import utils

    return str(utils._get_latest_schema_revision())


def prepare_environment() -> None:
    """Set what MLflow reads from the environment; must come before its first import."""
    os.environ.update(_ENVIRONMENT)


def tracking_store() -> Any:
    """Return this process's store; the first call connects and refuses a foreign revision."""
    global _store
    if _store is None:
        with _making:
            if _store is None:
                database.require_revision(head_revision())
                _store = _store_class()(database.engine_url(), _ARTIFACT_ROOT)
    return _store


@contextmanager
def transaction() -> Iterator[Any]:
    """Run everything the store does inside on one connection, in one transaction.

    Yields the SQLAlchemy connection; leaving normally commits, an exception undoes all.
    """
    with tracking_store().engine.begin() as connection:
        token = _connection.set(connection)
        try:
            yield connection
        finally:
            _connection.reset(token)


@cache
def _store_class() -> Any:
    from mlflow.entities import ExperimentTag, RunTag, Workspace
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
    from mlflow.store.workspace.abstract_store import AbstractStore
    from sqlalchemy.orm import Session

    def refuse_to_initialise(engine: Any) -> None:
        raise RuntimeError("MLflow's tables are missing. Run: manage.py mlflow_migrate")

    # The store's constructor would make tables by itself, as the application's role.
    utils._initialize_tables = refuse_to_initialise

    class Workspaces(AbstractStore):
        """Workspaces are ours; the door has checked membership before MLflow sees a name."""

        def list_workspaces(self) -> list[Any]:
            return []

        def get_workspace(self, workspace_name: str) -> Any:
            return Workspace(workspace_name)

    class TrackingStore(WorkspaceAwareSqlAlchemyStore):
        """MLflow's store, joined to the request's transaction and told who is acting."""

        def __init__(self, db_uri: str, artifact_root: str) -> None:
            super().__init__(db_uri, artifact_root)
            self.ManagedSessionMaker = utils._get_managed_session_maker(self._session, self.db_type)

        def _session(self) -> Any:
            connection = _connection.get()
            if connection is None:
                return Session(bind=self.engine)
            return Session(bind=connection, join_transaction_mode="create_savepoint")

        def _get_workspace_provider_instance(self) -> Any:
            return Workspaces()

        def get_experiment(self, experiment_id: str) -> Any:
            return super().get_experiment(self._chosen(experiment_id))

        def search_runs(self, experiment_ids: list[str], *args: Any, **kwargs: Any) -> Any:
            chosen = [self._chosen(item) for item in experiment_ids]
            return super().search_runs(chosen, *args, **kwargs)

        def search_logged_models(self, experiment_ids: list[str], *args: Any, **kwargs: Any) -> Any:
            chosen = [self._chosen(item) for item in experiment_ids]
            return super().search_logged_models(chosen, *args, **kwargs)

        def create_logged_model(self, experiment_id: str, *args: Any, **kwargs: Any) -> Any:
            return super().create_logged_model(self._or_make(experiment_id), *args, **kwargs)

        def create_experiment(
            self, name: str, artifact_location: str | None = None, tags: Any = None
        ) -> str:
            made_by = ExperimentTag(CREATOR_TAG, identity.acting().id)
            return str(super().create_experiment(name, artifact_location, [*(tags or []), made_by]))

        def create_run(
            self,
            experiment_id: str,
            user_id: str,
            start_time: int,
            tags: list[Any],
            run_name: str,
        ) -> Any:
            name = identity.acting().label or identity.acting().id
            said = {tag.key: tag.value for tag in tags}
            said = identity.with_true_user(said, name)
            said[CREATOR_TAG] = identity.acting().id
            true_tags = [RunTag(key, value) for key, value in said.items()]
            return super().create_run(
                self._or_make(experiment_id), name, start_time, true_tags, run_name
            )

        def set_tag(self, run_id: str, tag: Any) -> None:
            super().set_tag(run_id, RunTag(identity.true_key(tag.key), tag.value))

        def log_batch(
            self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]
        ) -> None:
            true_tags = [RunTag(identity.true_key(tag.key), tag.value) for tag in tags]
            super().log_batch(run_id, metrics, params, true_tags)

        def start_trace(self, trace_info: Any) -> Any:
            place = trace_info.trace_location.mlflow_experiment
            if place is not None:
                place.experiment_id = self._or_make(place.experiment_id)
            return super().start_trace(trace_info)

        def _chosen(self, experiment_id: str) -> str:
            """Clients send "0" when nobody chose an experiment: the workspace's own default."""
            if str(experiment_id) != self.DEFAULT_EXPERIMENT_ID:
                return experiment_id
            found = self.get_experiment_by_name("Default")
            return str(found.experiment_id) if found else experiment_id

        def _or_make(self, experiment_id: str) -> str:
            chosen = self._chosen(experiment_id)
            if chosen != self.DEFAULT_EXPERIMENT_ID:
                return chosen
            try:
                return str(self.create_experiment("Default"))
            except MlflowException:
                # Another request made it between the two questions.
                return self._chosen(experiment_id)

    return TrackingStore


def _keep_empty(connection: Any) -> None:
    from sqlalchemy import text

    connection.execute(
        text(
            "CREATE OR REPLACE FUNCTION mlflow.refuse_rows() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the table mlflow.% is not used', TG_TABLE_NAME; END $$"
        )
    )
    for table in _TABLES_THAT_STAY_EMPTY:
        connection.execute(
            text(
                f"CREATE OR REPLACE TRIGGER stays_empty BEFORE INSERT ON mlflow.{table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION mlflow.refuse_rows()"
            )
        )
