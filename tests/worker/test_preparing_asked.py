"""While policies come in force, a process beside is asked under those that will judge its answer."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

import msgspec

from cdp import app
from cdp.access import Principal, Source
from cdp.clock import FixedClock
from cdp.ingest import Delivery, apart
from cdp.policy import Bundle, read_folder
from cdp.settings import Settings
from cdp.worker import Answering, Preparing

POLICIES = Path(__file__).parents[2] / "policies"
SHOP = Source(source_id=1, name="shop", kind="server", enabled=True)


class Kept:
    """A process that keeps what it is asked."""

    waiting = 0

    def __init__(self) -> None:
        self.asked: list[apart.Ask] = []

    def ask(self, frame: bytes, _: object) -> bool:
        self.asked.append(apart.read_ask(frame))
        return True


def test_it_is_asked_under_what_will_judge_the_answer(settings: Settings, clock: FixedClock) -> None:
    with closing(app.build(msgspec.structs.replace(settings, four_eyes=False), clock)) as platform:
        services, kept = platform.services, Kept()
        preparing = Preparing(
            [cast("Answering", kept)],
            services.pipeline,
            lambda: 0,
            services.catalogue.shapes,
            services.plans.judges,
        )
        raw = (msgspec.json.encode({"type": "track", "event": "Seen", "userId": "u1"}),) * 20
        delivery = Delivery(source=SHOP, messages=raw, received_at=clock.now())
        seen: list[tuple[str, str]] = []

        def adopt(bundle: Bundle) -> None:  # the last part to adopt it: the version has not moved yet
            assert preparing.ask(delivery, lambda _: None)
            seen.append((kept.asked[-1].policies, bundle.sha256))

        services.in_force.subscribe(adopt)
        files = read_folder(POLICIES)
        files["fields.yaml"] += b"\n# another text\n"
        officer = Principal(key_id=1, name="one", roles=frozenset({"officer"}), purposes=frozenset({"*"}))
        candidate = services.policies.check(files)
        services.policies.propose(officer, candidate, files, services.bundle.sha256, {}, {})
        services.policies.approve(officer, candidate.sha256)
        services.in_force.refresh()
        assert seen == [(candidate.sha256, candidate.sha256)]

        odd = msgspec.structs.replace(delivery, context={"n": 1 << 70})  # no frame holds such a number
        assert not preparing.ask(odd, lambda _: None)
