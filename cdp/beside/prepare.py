"""What prepares events for a server: the stages that write nothing, as often as they are asked for.

Invariants: it judges by the policies that it is asked to judge by, or says that it cannot; it writes to no
database; values of identifiers leave its memory once it hears that somebody was erased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import structlog

from cdp.access import AccessService
from cdp.beside.judging import judge_by
from cdp.beside.process import calm_collector
from cdp.clock import SystemClock
from cdp.crypto import BlindIndex, Keyring, open_provider
from cdp.identity import Lookup
from cdp.ingest import Classifier, Judges, Preparer, Shapes, apart, inspect
from cdp.policy import Bundle, InForce
from cdp.settings import Settings
from cdp.store import Store

log = structlog.get_logger()


@contextmanager
def preparing(settings: Settings) -> Iterator[Callable[[bytes], bytes]]:
    """Yield what answers each ask of a server."""
    with ExitStack() as opened:
        store, key_store = (
            opened.enter_context(closing(Store(url))) for url in (settings.database, settings.keys_database)
        )
        provider = open_provider(settings.key_provider)
        keyring = Keyring(key_store, provider, settings.workspace, SystemClock())  # opens what is asked for
        in_force = InForce(store)
        bundle, blind = in_force.bundle, BlindIndex(keyring.secret("index"), settings.workspace)
        lookup = Lookup(blind, bundle.identity, AccessService.regions)
        shapes, judges = Shapes(bundle.fields.events), Judges(store)
        preparer = Preparer(
            judge_by(bundle, settings, keyring, lookup.normalise, store),
            Classifier(bundle.fields),
            lookup.index,
            partial(inspect, shapes, judges),
        )

        def adopt(held: Bundle) -> None:
            lookup.adopt(held.identity)
            shapes.events = held.fields.events
            judge = judge_by(held, settings, keyring, lookup.normalise, store)
            preparer.adopt(judge, Classifier(held.fields))

        in_force.subscribe(adopt)
        counting = apart.Counting(shapes, judges)
        epoch = -1

        def answer(frame: bytes) -> bytes:
            try:
                return apart.write(answered(apart.read_ask(frame)))
            except Exception as error:  # noqa: BLE001  # whoever asked prepares it then
                log.warning("what was asked for could not be done", error=type(error).__name__)
                return apart.write(apart.Answer())

        def answered(ask: apart.Ask) -> apart.Answer:
            nonlocal epoch
            if ask.epoch != epoch:
                lookup.forget()
                epoch = ask.epoch
            if ask.plans != judges.version or ask.delivery is None:
                judges.refresh()
            if ask.delivery is None:
                return apart.Answer(grown=counting.take())
            if ask.policies != preparer.policies:
                in_force.refresh()
            if ask.policies != preparer.policies:
                return apart.Answer()
            return apart.Answer(apart.pack(preparer([ask.delivery])))

        opened.enter_context(calm_collector())
        yield answer
