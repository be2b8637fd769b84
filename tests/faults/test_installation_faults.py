"""What is wrong with an installation ends in one clear error; nothing is re-made silently."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from caller import Caller
from litestar.testing import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from cdp import app
from cdp.errors import ConfigurationError, KeyAccessError, PolicyError, StoreError
from cdp.settings import Settings


def test_a_missing_key_file_is_named_and_not_made_again(settings: Settings) -> None:
    key = settings.data_dir / "root.key"
    key.rename(key.with_suffix(".gone"))
    for attempt in (app.build, app.initialise):
        with pytest.raises(ConfigurationError, match=r"root\.key"):
            attempt(settings)
    assert not key.exists()


def test_a_wrong_key_file_is_named(settings: Settings) -> None:
    key = settings.data_dir / "root.key"
    key.write_text("ab" * 32 + "\n", encoding="ascii")
    with pytest.raises(KeyAccessError, match=r"root\.key"):
        app.build(settings)


@pytest.mark.parametrize("content", ["", "not hex", "abcd"])
def test_a_broken_key_file_is_named(settings: Settings, content: str) -> None:
    (settings.data_dir / "root.key").write_text(content, encoding="ascii")
    with pytest.raises(ConfigurationError, match=r"root\.key"):
        app.build(settings)


def test_a_typo_in_a_policy_names_file_line_and_key(settings: Settings, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(settings.policies_dir, policies)
    file = policies / "identity.yaml"
    lines = file.read_text(encoding="utf-8").replace("profile_cap:", "profil_cap:").splitlines()
    file.write_text("\n".join(lines), encoding="utf-8")
    line = 1 + next(number for number, text_ in enumerate(lines) if text_.startswith("profil_cap"))
    with pytest.raises(PolicyError, match=rf"identity\.yaml:{line}: .*profile_cap"):
        app.initialise(
            Settings(data_dir=tmp_path / "new", policies_dir=policies)
        )  # policies in force are those of the database: the folder is read where there are none


def test_a_database_that_was_not_initialised_says_what_to_run(tmp_path: Path, settings: Settings) -> None:
    empty = msgspec.structs.replace(settings, data_dir=tmp_path, database_url="", keys_database_url="")
    with pytest.raises(ConfigurationError, match="cdp init"):
        app.build(empty)


def test_the_command_line_says_it_in_one_line(settings: Settings) -> None:
    (settings.data_dir / "root.key").unlink()
    environment = {
        **os.environ,
        "CDP_DATA_DIR": str(settings.data_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_KEYS_DATABASE_URL": settings.keys_database_url,
        "CDP_POLICIES_DIR": str(settings.policies_dir),
    }
    done = subprocess.run(
        [sys.executable, "-m", "cdp", "segment", "list"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "root.key" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB (tmpfs), which can be made larger again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("a full disk needs the right to mount a tmpfs (run as root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_refuses_and_loses_nothing_that_was_acknowledged(small_disk: Path) -> None:
    settings = Settings(data_dir=small_disk / "var", policies_dir=Path(__file__).parents[2] / "policies")
    app.initialise(settings)
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    acknowledged = 0
    platform = app.build(settings)
    with TestClient(app.application(platform)) as http:
        caller = Caller(http, key, platform.services)
        write_key = caller.write_key()

        def push(number: int) -> int:
            messages = [
                {
                    "type": "track",
                    "event": "Order Completed",
                    "userId": f"u{number}-{item}",
                    "messageId": f"m{number}-{item}",
                    "properties": {"note": "x" * 500},
                }
                for item in range(100)
            ]
            body = msgspec.json.encode({"batch": messages, "writeKey": write_key})
            return http.post("/v1/batch", content=body).status_code

        refused_at = -1
        for number in range(200):
            status = push(number)
            assert status in {200, 503}
            if status == 503:
                refused_at = number
                break
            acknowledged += 100
        assert refused_at > 0
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        assert push(refused_at) == 200
        assert push(0) == 200
        acknowledged += 100
    engine = create_engine(settings.database)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar_one() == acknowledged
    engine.dispose()


@pytest.fixture
def read_only_url(settings: Settings) -> Iterator[str]:
    """URL under which the main database can be read and not written."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        yield f"sqlite:///file:{url.database}?mode=ro&uri=true"
        return
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    role = f"reader_{url.database}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data"))
    yield url.set(username=role).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()


def test_a_read_only_database_is_one_clear_error(settings: Settings, read_only_url: str) -> None:
    chosen = msgspec.structs.replace(settings, database_url=read_only_url)
    with (
        closing(app.build(chosen)) as platform,
        pytest.raises(StoreError, match=r"read.?only|permission denied"),
    ):
        platform.services.access.create_source("system", "shop", "server")
