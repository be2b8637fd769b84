"""Which policies are in force: two officers, one difference shown first, every process at once."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller
from sqlalchemy import delete, text, update

from cdp import app
from cdp.access import Principal
from cdp.clock import FixedClock
from cdp.errors import (
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    NotPermittedError,
)
from cdp.policy import Bundle, Policies, digest, read_folder
from cdp.policy.tables import policy_activations, policy_bundles, policy_proposals
from cdp.settings import Settings
from cdp.store import EpochMovedError, Store, read_head

POLICIES = Path(__file__).parents[2] / "policies"
EMAIL = "marketing.communications.email"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return read_folder(POLICIES)


def changed(files: Mapping[str, bytes], name: str, old: str, new: str) -> dict[str, str]:
    """The files as texts, with one word of one of them changed."""
    texts = {key: content.decode() for key, content in files.items()}
    assert texts[name].count(old) >= 1
    texts[name] = texts[name].replace(old, new, 1)
    return texts


def without_mailer_email(files: Mapping[str, bytes]) -> dict[str, str]:
    return changed(files, "destinations/mailer.yaml", "minimum_audience:", "minimum_audience: 1\n#")


@pytest.fixture
def first(caller: Caller) -> str:
    """The key of an officer."""
    return caller.officer("first")


@pytest.fixture
def second(caller: Caller) -> str:
    """The key of another officer."""
    return caller.officer("second")


def actions(caller: Caller, action: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.api("GET", f"/audit?action={action}")["items"]
    return found


def test_the_first_policies_are_an_activation_of_the_system(caller: Caller, files: dict[str, bytes]) -> None:
    shown = caller.api("GET", "/policies")
    assert shown["sha256"] == digest(files)
    (first,) = shown["activations"]
    assert (first["proposed_by"], first["approved_by"], first["four_eyes"]) == ("system", "system", False)
    assert (shown["four_eyes"], shown["proposals"], shown["switches"]) == (True, [], [])
    (entry,) = actions(caller, "policy.activate")
    assert entry["object"]["bundle"] == digest(files)


def test_a_second_officer_puts_it_in_force_at_once(
    caller: Caller, first: str, second: str, files: dict[str, bytes]
) -> None:
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    held = caller.api("GET", "/policies")["sha256"]
    proposed = caller.api("POST", "/policies/activate", {"files": candidate}, key=first)
    sha256 = proposed["proposal"]["sha256"]
    (change,) = proposed["difference"]["changes"]
    assert (change["section"], change["name"], change["details"]) == ("destinations", "mailer", ["enabled"])
    assert caller.api("GET", "/policies")["sha256"] == held
    again = caller.api("POST", "/policies/activate", {"files": candidate}, key=second)
    assert again["proposal"]["id"] == proposed["proposal"]["id"]  # nobody approves by proposing again
    own = caller.api("POST", "/policies/activate", {"approve": sha256}, key=first, expect=409)
    assert "second officer" in own["detail"]
    caller.api("POST", "/policies/activate", {"approve": "f" * 64}, key=second, expect=404)
    caller.api("POST", "/policies/activate", {"approve": sha256}, key=second)
    shown = caller.api("GET", "/policies")
    assert shown["sha256"] == sha256
    assert shown["proposals"] == []
    assert [(item["four_eyes"], item["proposal"]) for item in shown["activations"]] == [
        (True, proposed["proposal"]["id"]),
        (False, None),
    ]
    mailer = next(item for item in shown["destinations"] if item["name"] == "mailer")
    assert mailer["enabled"] is False
    newest, denied, _ = actions(caller, "policy.activate")
    assert newest["object"]["four_eyes"] == "on"
    assert newest["object"]["base"] == held
    assert (denied["outcome"], denied["object"]["reason"]) == ("denied", "same_hands")
    assert len(actions(caller, "policy.propose")) == 1
    caller.api("POST", "/policies/activate", {"files": candidate}, key=first, expect=409)


def test_a_rejected_or_overtaken_proposal_cannot_be_approved(
    caller: Caller, first: str, second: str, files: dict[str, bytes]
) -> None:
    one = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    other = changed(files, "destinations/adnet.yaml", "enabled: true", "enabled: false")
    early = caller.api("POST", "/policies/activate", {"files": one}, key=first)["proposal"]
    later = caller.api("POST", "/policies/activate", {"files": other}, key=first)["proposal"]
    assert len(caller.api("GET", "/policies")["proposals"]) == 2
    caller.api("POST", "/policies/reject", {"proposal": early["id"]}, key=second)
    caller.api("POST", "/policies/activate", {"approve": early["id"]}, key=second, expect=404)
    assert len(actions(caller, "policy.reject")) == 1
    overtaken = caller.api("POST", "/policies/activate", {"files": one}, key=first)["proposal"]
    caller.api("POST", "/policies/activate", {"approve": later["id"]}, key=second)
    caller.api("POST", "/policies/activate", {"approve": overtaken["id"]}, key=second, expect=404)


@pytest.mark.parametrize("digits", [12, 63])
def test_some_digits_of_a_hash_name_no_proposal(
    caller: Caller, first: str, second: str, files: dict[str, bytes], digits: int
) -> None:
    """Two bundles that share 12 digits are quickly made, by words in a comment; all 64 name what was seen."""
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    held = caller.api("GET", "/policies")["sha256"]
    sha256 = caller.api("POST", "/policies/activate", {"files": candidate}, key=first)["proposal"]["sha256"]
    caller.api("POST", "/policies/activate", {"approve": sha256[:digits]}, key=second, expect=404)
    caller.api("POST", "/policies/reject", {"proposal": sha256[:digits]}, key=second, expect=404)
    assert caller.api("GET", "/policies")["sha256"] == held
    caller.api("POST", "/policies/activate", {"approve": sha256.upper()}, key=second)
    assert caller.api("GET", "/policies")["sha256"] == sha256


def test_one_person_with_many_keys_is_no_second_officer(caller: Caller, files: dict[str, bytes]) -> None:
    """Who makes a key sees it: keys of one lineage may be in one hand."""
    both = ("officer", "admin")
    carol, bob = caller.officer("carol", roles=both), caller.officer("bob")
    one, other = caller.officer("one", roles=both, key=carol), caller.officer("other", key=carol)
    deeper = caller.officer("deeper", key=one)
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    for proposer, approvers in {
        one: (one, other, carol, deeper, caller.operator_key),
        carol: (carol, deeper),
        deeper: (other, carol, one),
    }.items():
        made = caller.api("POST", "/policies/activate", {"files": candidate}, key=proposer)["proposal"]
        for approver in approvers:
            caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=approver, expect=409)
        caller.api("POST", "/policies/reject", {"proposal": made["id"]}, key=bob)
    caller.api("DELETE", "/keys/one")  # what it made stays its maker's
    made = caller.api("POST", "/policies/activate", {"files": candidate}, key=deeper)["proposal"]
    caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=carol, expect=409)
    caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=bob)
    assert {entry["object"].get("reason") for entry in actions(caller, "policy.activate")[1:-1]} == {
        "same_hands"
    }


def test_a_key_from_before_makers_were_recorded_is_one_person(
    settings: Settings, caller: Caller, files: dict[str, bytes]
) -> None:
    legacy = caller.officer("legacy", roles=("officer", "admin"))
    store = Store(settings.database)
    with store.writing() as connection, connection.begin():
        connection.execute(text("UPDATE api_keys SET made_by = NULL"))
    store.close()
    one, other = caller.officer("one", key=legacy), caller.officer("other", key=legacy)
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    caller.api("POST", "/policies/activate", {"files": candidate}, expect=403)  # the operator's still
    for proposer in (one, legacy):
        made = caller.api("POST", "/policies/activate", {"files": candidate}, key=proposer)["proposal"]
        for approver in (one, other, legacy, caller.operator_key):
            caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=approver, expect=409)
        caller.api("POST", "/policies/reject", {"proposal": made["id"]}, key=other)
    made = caller.api("POST", "/policies/activate", {"files": candidate}, key=legacy)["proposal"]
    caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=caller.officer("second"))


def test_keys_of_unknown_makers_are_one_officer_until_new_ones_are_made(
    settings: Settings, caller: Caller, files: dict[str, bytes]
) -> None:
    """One of two such keys may have made the other, and nobody recorded it."""
    old = [caller.officer(name, roles=("officer", "admin")) for name in ("old-one", "old-two")]
    with closing(Store(settings.database)) as store, store.writing() as connection, connection.begin():
        connection.execute(text("UPDATE api_keys SET made_by = NULL"))
    made_since = caller.officer("since", key=old[1])
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    made = caller.api("POST", "/policies/activate", {"files": candidate}, key=old[0])["proposal"]
    for key in (old[1], made_since):
        refused = caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=key, expect=409)
        assert "who made a key was recorded" in refused["detail"]
        assert "cdp key create --role officer" in refused["detail"]
    assert caller.api("GET", "/policies")["proposals"]
    assert {entry["object"]["reason"] for entry in actions(caller, "policy.activate")[:2]} == {
        "unknown_maker"
    }
    new = [caller.officer(name) for name in ("new-one", "new-two")]
    caller.api("POST", "/policies/reject", {"proposal": made["id"]}, key=new[0])
    made = caller.api("POST", "/policies/activate", {"files": candidate}, key=new[0])["proposal"]
    caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=new[1])


def test_the_operator_makes_keys_for_two_officers_and_proposes_nothing(
    caller: Caller, files: dict[str, bytes]
) -> None:
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    answer = caller.api("POST", "/policies/activate", {"files": candidate}, expect=403)
    assert "a key for each of two officers" in answer["detail"]
    assert caller.api("GET", "/policies")["proposals"] == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("destinations/mailer.yaml", "minimum_audience:", "minimum_audiense:", "destinations/mailer.yaml:"),
        ("purposes.yaml", "purposes:", "purposes: &a", "purposes.yaml:"),
    ],
)
def test_a_wrong_upload_names_file_and_line_and_changes_nothing(
    caller: Caller, files: dict[str, bytes], name: str, old: str, new: str, said: str
) -> None:
    wrong = changed(files, name, old, new)
    for path in ("/policies/diff", "/policies/activate"):
        answer = caller.api("POST", path, {"files": wrong}, expect=400)
        assert answer["type"] == "/problems/invalid-policies"
        assert answer["detail"].startswith(said)
    caller.api("POST", "/policies/diff", {"files": {}}, expect=400)
    escaping = {**changed(files, name, old, old), "../../secret.yaml": "x: y"}
    caller.api("POST", "/policies/diff", {"files": escaping}, expect=400)
    assert caller.api("GET", "/policies")["proposals"] == []


def test_columns_that_would_clash_in_the_warehouse_are_refused(
    caller: Caller, files: dict[str, bytes]
) -> None:
    clash = "properties:\n  a.b: {category: user.behavior, protection: clear}\n"
    clash += "  a__b: {category: user.behavior, protection: clear}\n"
    answer = caller.api(
        "POST",
        "/policies/activate",
        {"files": changed(files, "fields.yaml", "properties:\n", clash)},
        expect=500,
    )
    assert "distinct names" in answer["detail"]


# -- in other processes -------------------------------------------------------------------------------


class Two:
    """Two processes over one database."""

    def __init__(self, settings: Settings, clock: FixedClock) -> None:
        self.platforms = [app.build(settings, clock) for _ in range(2)]
        self.here, self.there = (platform.services for platform in self.platforms)
        self.officer = Principal(
            key_id=1, name="one", roles=frozenset({"officer"}), purposes=frozenset({"*"})
        )

    def activate(self, texts: dict[str, str]) -> Bundle:
        policies: Policies = self.here.policies
        files = {name: text.encode() for name, text in texts.items()}
        candidate = policies.check(files)
        policies.propose(self.officer, candidate, files, self.here.bundle.sha256, {}, {})
        policies.approve(self.officer, candidate.sha256)
        return candidate


@pytest.fixture
def two(settings: Settings, clock: FixedClock) -> Iterator[Two]:
    made = Two(msgspec.structs.replace(settings, four_eyes=False), clock)
    yield made
    for platform in made.platforms:
        platform.close()


def test_every_process_takes_it_with_its_next_look(two: Two, files: dict[str, bytes]) -> None:
    candidate = two.activate(
        changed(files, "destinations/mailer.yaml", "minimum_audience:", "minimum_audience: 7\n#")
    )
    with two.there.store.reading() as connection:
        held = two.there.in_force.current(connection)
    assert held.sha256 == candidate.sha256
    assert held.destinations["mailer"].minimum_audience == 7
    assert two.there.policies.overview().history[0].four_eyes is False  # switched off, and on record


def test_a_batch_begins_under_what_is_in_force_and_never_ends_under_less(
    two: Two, files: dict[str, bytes]
) -> None:
    texts = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    if not two.here.store.single_writer:
        with pytest.raises(EpochMovedError), two.there.committer.batch():
            two.activate(texts)  # another process, while this batch runs
    else:
        two.activate(texts)
    with two.there.committer.batch():
        assert two.there.in_force.bundle.destinations["mailer"].enabled is False


def test_events_prepared_under_other_policies_are_prepared_again(two: Two, files: dict[str, bytes]) -> None:
    from cdp.access import Source  # noqa: PLC0415  # used here only
    from cdp.ingest import Delivery  # noqa: PLC0415  # as above

    shop = Source(source_id=1, name="shop", kind="server", enabled=True)
    message = {"type": "identify", "userId": "ann", "messageId": "m1", "traits": {"plan": "gold"}}
    delivery = Delivery(
        source=shop, messages=(msgspec.json.encode(message),), received_at=two.here.clock.now()
    )
    prepared = two.there.pipeline.prepare([delivery])
    assert prepared.events[0].classified.traits[0].clear
    two.activate(
        changed(
            files,
            "fields.yaml",
            "plan: {category: user.account, protection: clear",
            "plan: {category: user.account, protection: sealed",
        )
    )
    assert two.there.pipeline.store(prepared).stored == 1
    with two.there.store.reading() as connection:
        number = two.there.identity.find(connection, "user_id", "ann")
        assert number is not None
        assert two.there.profiles.traits(connection, number)["plan"].value is None  # sealed


def test_two_officers_at_once_activate_once(two: Two, files: dict[str, bytes]) -> None:
    texts = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    given = {name: text.encode() for name, text in texts.items()}
    candidate = two.here.policies.check(given)
    base = two.here.bundle.sha256
    proposal = two.here.policies.propose(two.officer, candidate, given, base, {}, {})
    outcomes: list[str] = []

    def approve(policies: Policies) -> None:
        try:
            policies.approve(two.officer, proposal.proposal_id)
            outcomes.append("activated")
        except NotFoundError:
            outcomes.append("gone")

    threads = [threading.Thread(target=approve, args=(side.policies,)) for side in (two.here, two.there)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["activated", "gone"]
    assert len(two.here.policies.overview().history) == 2


def test_a_difference_that_is_out_of_date_cannot_be_proposed(two: Two, files: dict[str, bytes]) -> None:
    base = two.here.bundle.sha256
    two.activate(changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false"))
    given = {name: text.encode() for name, text in without_mailer_email(files).items()}
    with pytest.raises(ConflictError, match="meanwhile"):
        two.there.policies.propose(two.officer, two.there.policies.check(given), given, base, {}, {})


# -- starting -----------------------------------------------------------------------------------------


def test_a_server_starts_with_what_is_in_force_whatever_the_folder_holds(
    settings: Settings, tmp_path: Path, files: dict[str, bytes]
) -> None:
    empty = tmp_path / "nothing"
    empty.mkdir()
    with closing(app.build(msgspec.structs.replace(settings, policies_dir=empty))) as platform:
        assert platform.services.bundle.sha256 == digest(files)
    assert app.establish(settings) is False


def _broken(settings: Settings, sha256: str, packed: bytes) -> None:
    """Put other bytes under a bundle's hash, as whoever writes to the database could."""
    with closing(Store(settings.database)) as store, store.writing() as connection, connection.begin():
        done = connection.execute(
            update(policy_bundles).where(policy_bundles.c.sha256 == sha256).values(files=packed)
        )
        assert done.rowcount == 1


def _packed(files: Mapping[str, bytes]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(dict(files)))


def _edited(files: Mapping[str, bytes]) -> bytes:
    """Valid policies, which nobody approved."""
    return _packed({name: content.encode() for name, content in without_mailer_email(files).items()})


ALTERED = pytest.mark.parametrize(
    "packed",
    [_edited, lambda _files: _packed({"purposes.yaml": b"old: shape"}), lambda _files: b"no bundle"],
    ids=["edited", "unreadable", "garbage"],
)


@ALTERED
def test_policies_that_were_changed_in_the_database_are_never_served(
    settings: Settings, files: dict[str, bytes], packed: Callable[[Mapping[str, bytes]], bytes]
) -> None:
    sha256 = digest(files)
    with closing(app.build(settings)) as running:
        _broken(settings, sha256, packed(files))
        officer = Principal(key_id=1, name="o", roles=frozenset({"officer"}))
        with pytest.raises(IntegrityError, match=sha256[:12]):
            running.services.policies.switch(officer, "mailer", enabled=False, reason="suspected_breach")
        with running.services.store.reading() as connection, pytest.raises(IntegrityError):
            running.services.policies.stored(connection, sha256)
    with pytest.raises(IntegrityError, match=f"{sha256[:12]}.*cdp restore"):
        app.build(settings)
    assert app.establish(settings) is False  # no way around the second officer
    with pytest.raises(IntegrityError):
        app.build(settings)


def test_nor_are_those_whose_text_is_gone(settings: Settings, files: dict[str, bytes]) -> None:
    with closing(Store(settings.database)) as store, store.writing() as connection, connection.begin():
        connection.execute(delete(policy_bundles))
    assert app.establish(settings) is False
    with pytest.raises(IntegrityError, match=digest(files)[:12]):
        app.build(settings)


@ALTERED
def test_a_proposal_that_was_changed_in_the_database_is_not_approved_only_rejected(
    settings: Settings,
    caller: Caller,
    first: str,
    second: str,
    files: dict[str, bytes],
    packed: Callable[[Mapping[str, bytes]], bytes],
) -> None:
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    made = caller.api("POST", "/policies/activate", {"files": candidate}, key=first)["proposal"]
    _broken(settings, made["sha256"], packed(files))
    assert [held["id"] for held in caller.api("GET", "/policies")["proposals"]] == [made["id"]]
    refused = caller.api("POST", "/policies/activate", {"approve": made["id"]}, key=second, expect=500)
    assert refused["type"].endswith("integrity")
    services = caller.services
    with pytest.raises(IntegrityError, match=made["sha256"][:12]):
        services.policies.approve(services.access.principal(second), made["id"])
    assert caller.api("GET", "/policies")["sha256"] == digest(files)
    assert len(actions(caller, "policy.activate")) == 1
    caller.api("POST", "/policies/reject", {"proposal": made["id"]}, key=second)


def test_a_proposal_that_this_version_cannot_read_is_listed_all_the_same(
    settings: Settings, caller: Caller, first: str, files: dict[str, bytes]
) -> None:
    candidate = changed(files, "destinations/mailer.yaml", "enabled: true", "enabled: false")
    made = caller.api("POST", "/policies/activate", {"files": candidate}, key=first)["proposal"]
    old = {"purposes.yaml": b"old: shape"}
    with closing(Store(settings.database)) as store, store.writing() as connection, connection.begin():
        for table, values in ((policy_bundles, {"files": _packed(old)}), (policy_proposals, {})):
            these = update(table).where(table.c.sha256 == made["sha256"])
            assert connection.execute(these.values(sha256=digest(old), **values)).rowcount == 1
    (shown,) = caller.api("GET", "/policies")["proposals"]
    assert (shown["id"], shown["consent"]) == (made["id"], None)


def test_policies_that_this_version_cannot_read_stop_it_and_migrate_replaces_none(settings: Settings) -> None:
    old = {"purposes.yaml": b"old: shape"}
    with closing(Store(settings.database)) as store, store.writing() as connection, connection.begin():
        connection.execute(update(policy_bundles).values(files=_packed(old), sha256=digest(old)))
        connection.execute(update(policy_activations).values(sha256=digest(old)))
    assert app.establish(settings) is False
    with pytest.raises(ConfigurationError, match="two officers activate"):
        app.build(settings)


# -- the kill switch ----------------------------------------------------------------------------------


def test_a_switch_is_one_officers_act_that_no_activation_undoes(
    caller: Caller, first: str, second: str, files: dict[str, bytes]
) -> None:
    off = {"enabled": False, "reason": "suspected_breach"}
    caller.api("POST", "/destinations/nobody/switch", off, expect=404)
    caller.api("POST", "/destinations/mailer/switch", {"enabled": False, "reason": "Because!"}, expect=400)
    done = caller.api("POST", "/destinations/mailer/switch", off)
    assert (done["enabled"], done["reason"]) == (False, "suspected_breach")
    candidate = changed(files, "destinations/adnet.yaml", "enabled: true", "enabled: false")
    proposed = caller.api("POST", "/policies/activate", {"files": candidate}, key=first)
    assert {flow["destination"] for flow in proposed["difference"]["flows"]} <= {"adnet"}
    caller.api("POST", "/policies/activate", {"approve": proposed["proposal"]["id"]}, key=second)
    shown = caller.api("GET", "/policies")
    assert {item["name"] for item in shown["destinations"] if not item["enabled"]} == {"adnet", "mailer"}
    refused = caller.api(
        "POST", "/exports", {"segment": "x", "destination": "mailer", "purpose": EMAIL}, expect=403
    )
    assert "switched off" in refused["detail"]
    caller.api("POST", "/destinations/mailer/switch", {"enabled": True, "reason": "all_clear"})
    shown = caller.api("GET", "/policies")
    assert {item["name"] for item in shown["destinations"] if not item["enabled"]} == {"adnet"}
    assert [(item["destination"], item["enabled"]) for item in shown["switches"]] == [("mailer", True)]
    caller.api("POST", "/destinations/adnet/switch", {"enabled": True, "reason": "try"})
    shown = caller.api("GET", "/policies")
    adnet = next(item for item in shown["destinations"] if item["name"] == "adnet")
    assert adnet["enabled"] is False  # a switch never opens what the bundle closed
    assert [entry["object"]["reason"] for entry in actions(caller, "destination.switch")] == [
        "try",
        "all_clear",
        "suspected_breach",
    ]


def test_a_switch_binds_under_the_head_in_another_process(two: Two) -> None:
    with two.there.store.reading() as connection:
        before = two.there.in_force.current(connection)
        position = read_head(connection)[0]
    two.here.policies.switch(two.officer, "mailer", enabled=False, reason="test")
    with two.there.committer.batch(head_first=True) as batch:
        assert two.there.in_force.bundle is not before
        assert not two.there.in_force.bundle.destinations["mailer"].enabled
        assert batch.policies == two.there.in_force.version
    assert position < batch.commit_no
    with pytest.raises(NotPermittedError, match="switched off"):
        two.there.exports.request(two.officer, segment="x", destination="mailer", purpose=EMAIL)
