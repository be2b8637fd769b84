"""A private authority, a platform that speaks OpenDSR, a controller and a recipient of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opendsr_desk import Controller, Desk, desk_of, speaking
from opendsr_world import Authority, Processor, lead_home, rsa_key, serving

from cdp.clock import FixedClock
from cdp.settings import Settings

DOMAIN = "privacy.mailer.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "outside")


@pytest.fixture
def desk(settings: Settings, authority: Authority, clock: FixedClock) -> Iterator[Desk]:
    with desk_of(speaking(settings, authority, "cdp.example"), clock) as made:
        yield made


@pytest.fixture
def controller(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Controller, str]]:
    lead_home(monkeypatch)
    made = Controller()
    with serving(made, *authority.issue("controller.example")) as port:
        yield made, f"https://controller.example:{port}"


@pytest.fixture
def mailer(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processor]:
    """The mailer's privacy desk."""
    lead_home(monkeypatch)
    certificate, _ = authority.issue(DOMAIN, key=DOMAIN)
    made = Processor(DOMAIN, rsa_key(DOMAIN), certificate)
    with serving(made, *authority.issue(DOMAIN, "other.example", key="server")) as port:
        made.url = f"https://{DOMAIN}:{port}/v2"
        made.certificate_url = f"{made.url}/certificate.pem"
        yield made


@pytest.fixture
def telling(
    settings: Settings, authority: Authority, mailer: Processor, clock: FixedClock, tmp_path: Path
) -> Iterator[Desk]:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "mailer").write_text("let-me-in\n", encoding="ascii")
    chosen = speaking(settings, authority, "cdp.example", opendsr_tokens=tokens)
    with desk_of(chosen, clock) as made:
        made.declare("mailer", mailer.url)
        yield made
