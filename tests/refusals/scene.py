"""A workspace in the middle of its work, the people in it, and every door they can knock at."""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from controlplane.accounts import tokens
from controlplane.accounts.models import ApiToken, User
from controlplane.core import clock
from controlplane.jobs import environments
from deployments.models import Rollout
from deployments.services import rollouts
from registry import blobs
from registry.models import DatasetVersion, Model, ModelVersion, PromotionRequest
from registry.services import datasets, models, promotions
from tests import make
from tests.deployments.served_models import save_all
from tests.deployments.serving import Gateway, Node, World, token
from tests.refusals.table import Answer, heard
from tests.rooms import SYSTEM
from tests.streets import Street

V1 = "/api/v1/"
MLFLOW = "/api/2.0/mlflow/"
FILES = "/api/2.0/mlflow-artifacts/artifacts/"
CSV = b"x,label\n1,7\n2,3\n3,7\n"


class Scene:
    """One version is live, a second waits for a decision, and a canary runs next door.

    ``street`` has the live version and the waiting promotion, ``corner`` (another workspace) the
    running rollout. Everything else is made when a row first asks for it, before it is counted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closing = ExitStack()
        self.street = Street()
        self.workspace = self.street.workspace
        self.street.live(self.street.version)
        self.second = self.street.register(b"weights 2")
        self.waiting = self._in_review(self.second)
        people = {
            "viewer": make.person("viewer", workspace=self.workspace),
            "admin": make.person("workspace_admin", workspace=self.workspace),
            "robot": make.service_account("ml_engineer", workspace=self.workspace),
            "stranger": make.person("ml_engineer", workspace=make.workspace()),
        }
        for name in ("engineer", "approver", "operator"):
            people[name] = make.user_of(getattr(self.street, name))
        self.people: dict[str, User] = people
        self.tokens = {name: make.token(user) for name, user in people.items()}
        self.tokens |= self._spoilt_tokens()
        self.browsers: dict[str, Client] = {}

    def close(self) -> None:
        self.closing.close()

    # Doors

    def rest(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send JSON to the REST interface."""
        return heard(self._send(self._headers(who, headers), method, f"{V1}{path}", body))

    def upload(self, who: str, path: str, *files: SimpleUploadedFile, **fields: Any) -> Answer:
        """Send a form with files to the REST interface."""
        data = {**fields, **({"file": list(files)} if files else {})}
        return heard(Client(headers=self._headers(who)).post(f"{V1}{path}", data))

    def mlflow(self, who: str, method: str, path: str, body: Any = None) -> Answer:
        return heard(self._send(self._headers(who), method, f"{MLFLOW}{path}", body))

    def file(self, who: str, method: str, path: str, content: bytes = b"") -> Answer:
        """Put, fetch or delete an artifact through MLflow's proxy."""
        client = Client(headers=self._headers(who))
        return heard(client.generic(method, f"{FILES}{path}", content, "application/octet-stream"))

    def page(self, who: str, path: str, **form: str) -> Answer:
        """Post a form of the pages, signed in as somebody."""
        client = self.browser(who) if who else Client()
        return heard(client.post(f"/w/{self.workspace.key}/{path}", form))

    def browser(self, who: str) -> Client:
        if who not in self.browsers:
            self.browsers[who] = Client()
            sent = {"username": self.people[who].username, "password": make.PASSWORD}
            assert self.browsers[who].post("/login/", sent).status_code == 302
        return self.browsers[who]

    def predict(self, deployment: str, body: object, **headers: str) -> Answer:
        """Ask the gateway, with its good token unless another one is given."""
        content = body if isinstance(body, str) else json.dumps(body)
        sent = {"Content-Type": "application/json", **headers}
        return heard(
            self.gateway.client.post(f"/{deployment}/invocations", content=content, headers=sent)
        )

    @staticmethod
    def _send(headers: Mapping[str, str], method: str, path: str, body: Any) -> Any:
        client = Client(headers=dict(headers), raise_request_exception=False)
        if method == "GET":
            return client.get(path, body or {})
        return client.generic(method, path, json.dumps(body or {}), "application/json")

    def _headers(self, who: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in (more or {}).items()}
        return ({**make.bearer(self.tokens[who])} if who else {}) | named

    # Records

    @property
    def promotion(self) -> str:
        """The address of the promotion that waits for a decision."""
        return f"promotions/{self.waiting.number}/"

    def decision(self, **more: str) -> dict[str, str]:
        return {"subject_digest": self.waiting.subject_digest, **more}

    @cached_property
    def retired(self) -> ModelVersion:
        version = self.street.register(b"weights 3")
        return models.retire_version(version, actor=self.street.engineer)

    @cached_property
    def unsigned(self) -> ModelVersion:
        """A version whose author declared no inputs and outputs, under a policy that asks."""
        model = models.create_model(
            actor=self.street.engineer,
            workspace=self.workspace,
            name="unsigned",
            risk_tier=Model.RiskTier.LOW,
        )
        return self._register(model, signature={}, lock_sha256="")

    @cached_property
    def trained(self) -> ModelVersion:
        """A version whose environment is known, so that it could be evaluated."""
        lock = environments.normalised("").encode()
        stored = blobs.put_bytes(self.workspace.key, lock)
        model = models.create_model(
            actor=self.street.engineer, workspace=self.workspace, name="trained"
        )
        signature = {"inputs": [{"name": "x", "type": "double"}], "outputs": []}
        return self._register(model, signature=signature, lock_sha256=stored.sha256)

    @cached_property
    def rows(self) -> DatasetVersion:
        """A sealed dataset version with the columns x and label."""
        return datasets.seal(self._dataset("rows", CSV).pk, actor=SYSTEM)

    @cached_property
    def fresh(self) -> DatasetVersion:
        """A dataset version that is still being profiled."""
        return self._dataset("fresh", CSV + b"4,1\n")

    @cached_property
    def run(self) -> str:
        """A run of the engineer's with a model that was registered from it as ``logged``."""
        experiment = self._asked("experiments/create", name="runs")["experiment_id"]
        run = self._asked("runs/create", experiment_id=experiment)["run"]["info"]
        self.artifacts = f"{run['artifact_uri'].removeprefix('mlflow-artifacts:/').strip('/')}/"
        for name, content in (("MLmodel", b"flavors: {}\n"), ("weights", b"1")):
            put = self.file("engineer", "PUT", f"{self.artifacts}model/{name}", content)
            assert put.status == 200, put
        self._asked("registered-models/create", name="logged")
        source = f"runs:/{run['run_id']}/model"
        self._asked("model-versions/create", name="logged", source=source, run_id=run["run_id"])
        return str(run["run_id"])

    @cached_property
    def corner(self) -> Street:
        """Another workspace whose second version runs as a canary at its first step."""
        corner = Street()
        corner.live(corner.version)
        second = corner.register(b"weights 2")
        self.rollout = corner.rollout_of(second)
        corner.node_says(second, "ready")
        rollouts.consider(self.rollout.pk, actor=SYSTEM)
        self.rollout.refresh_from_db()
        assert self.rollout.state == Rollout.State.RUNNING
        for name in ("first", "second"):
            operator = make.person("operator", workspace=corner.workspace)
            self.tokens[f"{name} operator"] = make.token(operator)
        return corner

    @cached_property
    def gateway(self) -> Gateway:
        """A gateway process before real model workers, serving a table of its own."""
        blob_dir = self.folder / "blobs"
        world = World(save_all(self.folder / "models"), blob_dir)
        node = Node(self.folder / "node", blob_dir)
        self.closing.callback(node.close)
        gateway = node.start_gateway()
        table = world.snapshot(
            world.deployment("pair", "one"),
            world.deployment("small", "one", body_limit_bytes=100, row_limit=2),
            world.deployment("empty", None),
            world.deployment("customers", "customers"),
            tokens=(token("gh_predict_1_test"), token("over", expires_at="2020-01-01T00:00:00Z")),
        )
        node.publish_and_wait(table)
        return gateway

    def training(self, script: str, **changes: Any) -> dict[str, Any]:
        """Return the form of a training job with this script."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            member = tarfile.TarInfo("train.py")
            member.size = len(script.encode())
            tar.addfile(member, io.BytesIO(script.encode()))
        lock = changes.pop("lock", b"")
        spec = {"name": "fit", "command": ["python", "train.py"], **changes}
        return {
            "source": SimpleUploadedFile("source.tar.gz", archive.getvalue()),
            "lock": SimpleUploadedFile("requirements.lock", lock),
            "spec": json.dumps(spec),
        }

    def _asked(self, path: str, **body: str) -> dict[str, Any]:
        response = self._send(self._headers("engineer"), "POST", f"{MLFLOW}{path}", body)
        assert response.status_code == 200, response.content
        answer: dict[str, Any] = json.loads(response.content)
        return answer

    def _in_review(self, version: ModelVersion) -> PromotionRequest:
        difference = {"value": "0.00", "low": "-0.01", "high": "0.01", "n": 400}
        self.street.evaluate(version, difference=difference)
        made = promotions.request(version, self.street.production, actor=self.street.engineer)
        return promotions.check(made.pk, actor=SYSTEM)

    def _register(self, model: Model, **more: Any) -> ModelVersion:
        stored = blobs.put_bytes(self.workspace.key, model.name.encode())
        return models.register_version(
            model,
            actor=self.street.engineer,
            source="runs:/x/model",
            files=[models.VersionFile("model.skops", stored.size, stored.sha256)],
            **more,
        )

    def _dataset(self, name: str, content: bytes) -> DatasetVersion:
        stored = blobs.put_bytes(self.workspace.key, content)
        return datasets.register_version(
            actor=self.street.engineer,
            workspace=self.workspace,
            name=name,
            files=[datasets.UploadedFile(f"{name}.csv", stored)],
        )

    def _spoilt_tokens(self) -> dict[str, str]:
        viewer = self.people["viewer"]
        spoilt = {name: make.token(viewer) for name in ("expired", "revoked")}
        kept = {name: ApiToken.objects.get(sha256=tokens.digest(spoilt[name])) for name in spoilt}
        ApiToken.objects.filter(pk=kept["expired"].pk).update(
            expires_at=clock.now() - timedelta(minutes=1)
        )
        tokens.revoke(kept["revoked"].pk, actor=make.acting(viewer), reason="Lost.")
        return {
            **spoilt,
            "shapeless": "nonsense",
            "mistyped": make.token(viewer)[:-1] + "x",
            "unknown": tokens._secret("human", uuid.uuid4()),
        }


@contextmanager
def scene_in(folder: Path) -> Iterator[Scene]:
    """Yield a scene whose processes have ended afterwards."""
    made = Scene(folder)
    try:
        yield made
    finally:
        made.close()


def file(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)
