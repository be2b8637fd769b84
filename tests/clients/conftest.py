"""One server and one run of the clients for the tests of a module: what they look at is what was said."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients_world import Server, scripted
from platform_fixtures import Template, copy_database, settings_of


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, templates: Callable[[str], Template]
) -> Iterator[Server]:
    """A server over SQLite: what a client says does not hang on where it is stored."""
    template, folder = templates("sqlite"), tmp_path_factory.mktemp("clients")
    shutil.copytree(template.folder, folder / "var")
    urls = [f"sqlite:///{folder / name}.sqlite" for name in ("cdp", "keys")]
    for source, target in zip((template.database, template.keys), urls, strict=True):
        copy_database(source, target)
    with scripted(settings_of(folder / "var", *urls)) as made:
        yield made


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the platform, for what clients and browsers keep of their own."""
    folder = tmp_path_factory.mktemp("of-clients") / "outside"
    folder.mkdir()
    return folder
