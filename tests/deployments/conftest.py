"""What the serving tests share: model folders made once, and a blob store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments.served_models import save_all
from tests.deployments.serving import Node, World


@pytest.fixture(scope="session")
def served_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders by name, as the stock MLflow client writes them."""
    return save_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def blob_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture(scope="module")
def world(served_models: dict[str, Path], blob_dir: Path) -> World:
    return World(served_models, blob_dir)


@pytest.fixture(scope="module")
def node(blob_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node without gateways, in a folder whose name is as long as a clone's may be."""
    name = "a-folder-with-a-rather-long-name-as-a-clone-may-have-it-so-that-sockets-move"
    running = Node(tmp_path_factory.mktemp(name), blob_dir)
    try:
        yield running
    finally:
        running.close()
