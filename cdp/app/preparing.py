"""What ``cdp prepare`` runs for a server: the stages that write nothing, as often as they are asked for.

Invariants: it judges by the policies that it is asked to judge by, or says that it cannot; it writes to no
database; values of identifiers leave its memory once it hears that somebody was erased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from cdp.access import AccessService
from cdp.app.opening import judge_by, open_stores, unlocked
from cdp.app.serving import calm_collector
from cdp.clock import SystemClock
from cdp.crypto import BlindIndex
from cdp.identity import Lookup
from cdp.ingest import Classifier, Delivery, Judges, Preparer, Shapes, apart, inspect
from cdp.policy import Bundle, InForce
from cdp.settings import Settings


@contextmanager
def preparing(settings: Settings) -> Iterator[Callable[[bytes], bytes]]:
    """Yield what answers each ask of a server."""
    with ExitStack() as opened:
        store, key_store = open_stores(settings, opened)
        keyring = unlocked(settings, key_store, SystemClock())
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
            nonlocal epoch
            ask = apart.read_ask(frame)
            if ask.epoch != epoch:
                lookup.forget()
                epoch = ask.epoch
            if ask.delivery is None:
                judges.refresh()
                return apart.write(apart.Answer(grown=counting.take()))
            return apart.write(apart.Answer(packed(ask, ask.delivery)))

        def packed(ask: apart.Ask, delivery: Delivery) -> apart.Packed | None:
            if ask.policies != in_force.version:
                in_force.refresh()
            return apart.pack(preparer([delivery])) if ask.policies == in_force.version else None

        opened.enter_context(calm_collector())
        yield answer
