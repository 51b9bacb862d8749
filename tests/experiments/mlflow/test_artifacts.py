"""Files through the artifact proxy: whole or not at all, inside their owner, only for members."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient

from tests.experiments.mlflow.conftest import Account

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture
def place(client: MlflowClient, workspace: Any) -> str:
    """The path of a run's files in the proxy."""
    run = client.create_run(client.create_experiment("files"))
    return (
        f"{PROXY}/workspaces/{workspace.key}/{run.info.experiment_id}/{run.info.run_id}/artifacts"
    )


def raw(account: Account, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Send the path exactly as written; other clients tidy it up."""
    parts = urlsplit(account.address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request(
            method,
            path,
            body=b"x" if method == "PUT" else None,
            headers={"Authorization": f"Bearer {account.token}", **headers},
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def test_a_file_comes_back_as_it_went_in_whole_or_in_part(place: str, engineer: Account) -> None:
    content = bytes(range(256)) * 20
    with engineer.http() as http:
        assert http.put(f"{place}/deep/data.html", content=content).status_code == 200
        whole = http.get(f"{place}/deep/data.html")
        assert whole.content == content
        assert whole.headers["Content-Disposition"].startswith("attachment")
        assert whole.headers["X-Content-Type-Options"] == "nosniff"
        part = http.get(f"{place}/deep/data.html", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, content[10:20])
        assert part.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
        tail = http.get(f"{place}/deep/data.html", headers={"Range": "bytes=-5"})
        assert tail.content == content[-5:]
        beyond = http.get(f"{place}/deep/data.html", headers={"Range": "bytes=99999-"})
        assert beyond.status_code == 416
        listed = http.get(PROXY, params={"path": f"{place.removeprefix(PROXY)[1:]}/deep"}).json()
        assert listed == {
            "files": [{"path": "data.html", "is_dir": False, "file_size": len(content)}]
        }
        assert http.delete(f"{place}/deep").status_code == 200
        assert http.get(f"{place}/deep/data.html").status_code == 404


def test_an_upload_of_unknown_length_is_kept_whole(place: str, engineer: Account) -> None:
    def chunks() -> Any:
        yield b"first,"
        yield b"second"

    with engineer.http() as http:
        assert http.put(f"{place}/chunked.txt", content=chunks()).status_code == 200
        assert http.get(f"{place}/chunked.txt").content == b"first,second"


def test_an_upload_that_breaks_off_leaves_nothing(
    place: str, engineer: Account, workspace: Any
) -> None:
    import socket

    from registry.models import ArtifactBlob

    parts = urlsplit(engineer.address)
    with socket.create_connection((str(parts.hostname), parts.port)) as connection:
        connection.sendall(
            f"PUT {place}/broken.bin HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {engineer.token}\r\n"
            "Content-Length: 1000000\r\n\r\n".encode()
            + b"x" * 300_000
        )
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20)
        answer = ""
        while "broke off" not in answer and (received := connection.recv(65536)):
            answer += received.decode(errors="replace")
    assert answer.startswith("HTTP/1.1 400")
    assert "broke off" in answer
    assert not ArtifactBlob.objects.filter(workspace=workspace, path="broken.bin").exists()


@pytest.mark.parametrize(
    "path",
    [
        "../escape",
        "%2e%2e/escape",
        "%252e%252e/escape",
        "a/%2e%2e/%2e%2e/escape",
        "a/..%2fescape",
        "a/..%252fescape",
        "a%5c..%5cescape",
        "a%00b",
        "a%0ab",
        "a%23b",
        "a/./b",
        "C:/windows",
    ],
)
def test_no_path_leads_out_of_its_owner(place: str, engineer: Account, path: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        status, body = raw(engineer, method, f"{place}/{path}")
        # 501: with a line break in it, the path is no address of the door at all.
        assert status in {400, 404} or (status == 501 and "%0a" in path), (method, status)
        assert '"error_code"' in body


def test_doubled_slashes_mean_one(place: str, engineer: Account) -> None:
    doubled = place.replace("/artifacts/workspaces", "//artifacts//workspaces")
    assert raw(engineer, "PUT", f"{doubled}//note.txt")[0] == 200
    assert raw(engineer, "GET", f"{place}/note.txt") == (200, "x")


def test_files_need_an_owner_that_exists_here(
    place: str,
    engineer: Account,
    account: Callable[..., Account],
    workspace: Any,
) -> None:
    from tests import make

    raw(engineer, "PUT", f"{place}/mine.txt")
    run_id = place.split("/")[-2]
    experiment = place.split("/")[-3]
    wrong = [
        f"{PROXY}/workspaces/{workspace.key}/{experiment}/{'0' * 32}/artifacts/a.txt",
        f"{PROXY}/workspaces/{workspace.key}/999999/{run_id}/artifacts/a.txt",
        f"{PROXY}/workspaces/elsewhere/{experiment}/{run_id}/artifacts/mine.txt",
        f"{PROXY}/somewhere/a.txt",
    ]
    for path in wrong:
        for method in ("PUT", "GET"):
            assert raw(engineer, method, path)[0] == 404, (method, path)
    stranger = account("ml_engineer", workspace=make.workspace())
    for method in ("PUT", "GET", "DELETE"):
        assert raw(stranger, method, f"{place}/mine.txt")[0] == 404
    viewer = account("viewer", workspace=workspace)
    assert raw(viewer, "GET", f"{place}/mine.txt")[0] == 200
    assert raw(viewer, "PUT", f"{place}/mine.txt")[0] == 403
    assert raw(viewer, "DELETE", f"{place}/mine.txt")[0] == 403


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    place: str, engineer: Account, workspace: Any
) -> None:
    status, body = raw(engineer, "PUT", f"{place}/huge.bin", **{"Content-Length": str(6 * 2**30)})
    assert status == 413
    assert "a file may have" in body


def test_a_path_is_a_file_or_a_folder(place: str, engineer: Account) -> None:
    assert raw(engineer, "PUT", f"{place}/a/b.txt")[0] == 200
    assert raw(engineer, "PUT", f"{place}/a")[0] == 400
    assert raw(engineer, "PUT", f"{place}/a/b.txt/c")[0] == 400


def test_the_other_addresses_of_files_lead_to_the_same(
    client: MlflowClient, engineer: Account
) -> None:
    run_id = client.create_run(client.create_experiment("addresses")).info.run_id
    client.log_text(run_id, "hello", "notes/a.txt")
    with engineer.http() as http:
        found = http.get("/get-artifact", params={"run_id": run_id, "path": "notes/a.txt"})
        assert found.text == "hello"
        sent = http.post(
            "/ajax-api/2.0/mlflow/upload-artifact",
            params={"run_uuid": run_id, "path": "notes/b.txt"},
            content=b"world",
        )
        assert sent.status_code == 200
        listed = http.get(
            "/api/2.0/mlflow/artifacts/list", params={"run_id": run_id, "path": "notes"}
        ).json()
        assert [item["path"] for item in listed["files"]] == ["notes/a.txt", "notes/b.txt"]
        assert listed["root_uri"].startswith("mlflow-artifacts:/workspaces/")
        for path in ("../../x", "/etc/passwd", "notes/../../x"):
            answer = http.get("/get-artifact", params={"run_id": run_id, "path": path})
            assert answer.status_code == 400, path


def test_a_versions_files_are_fetched_by_its_name(client: MlflowClient, engineer: Account) -> None:
    from tests.experiments.mlflow.test_registry import log_model

    info = log_model("fetched")
    client.copy_model_version("models:/fetched/1", "fetched-copy")
    with engineer.http() as http:
        for name in ("fetched", "fetched-copy"):
            found = http.get(
                "/model-versions/get-artifact",
                params={"name": name, "version": "1", "path": "MLmodel"},
            )
            assert found.status_code == 200
            assert "sklearn" in found.text
        listed = http.get(
            f"/api/2.0/mlflow/logged-models/{info.model_id}/artifacts/directories"
        ).json()
        assert "MLmodel" in [item["path"] for item in listed["files"]]
        one = http.get(
            f"/ajax-api/2.0/mlflow/logged-models/{info.model_id}/artifacts/files",
            params={"artifact_file_path": "MLmodel"},
        )
        assert "sklearn" in one.text
