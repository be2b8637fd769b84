"""An archive from its building to its end: progress, links, downloads, and what ends it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from archives import ADA, Opened, archive_of, ask, fetched, worked_on
from caller import Caller
from recovery_world import erase, number_of
from sqlalchemy import func, select

from cdp.clock import DAY, FixedClock
from cdp.crypto.tables import bucket_keys
from cdp.errors import KeyAccessError, NotFoundError
from cdp.rights.archive import build, queries
from cdp.rights.archive.tables import archive_chunks, archives

EVE = "eve@example.org"


@pytest.fixture
def ada(caller: Caller) -> Caller:
    """Two people."""
    for name, address in (("ada", ADA), ("eve", EVE)):
        said = {"type": "identify", "messageId": f"i-{name}", "userId": name, "traits": {"email": address}}
        done = {"type": "track", "messageId": f"t-{name}", "userId": name, "event": "Signed Up"}
        caller.send(said, done)
    return caller


def ready(caller: Caller, value: str = ADA) -> str:
    request_id = ask(caller, value)
    assert worked_on(caller, request_id) == "fulfilled"
    return request_id


def link(caller: Caller, request_id: str) -> str:
    made = caller.api("POST", f"/rights/requests/{request_id}/archive/link")
    return str(urlsplit(made["url"]).path)


def uses(caller: Caller, *actions: str) -> list[Any]:
    found = [one for action in actions for one in caller.api("GET", f"/audit?action={action}")["items"]]
    return [(one["action"], one["actor"]) for one in found]


def live_keys(caller: Caller) -> int:
    wanted = bucket_keys.c.bucket.startswith("archive/"), bucket_keys.c.wrapped.is_not(None)
    with caller.services.keyring.store.reading() as connection:
        return int(connection.execute(select(func.count()).where(*wanted)).scalar_one())


def left(caller: Caller) -> int:
    """Return how many rows there are of any archive."""
    with caller.services.store.reading() as connection:
        tables = (archives, archive_chunks)
        return sum(
            int(connection.execute(select(func.count()).select_from(one)).scalar_one()) for one in tables
        )


# -- building ---------------------------------------------------------------------------------------


def test_the_request_says_what_was_made_and_the_log_whose_it_is(ada: Caller) -> None:
    request_id = ready(ada)
    data = fetched(ada, request_id)
    status = ada.api("GET", f"/rights/requests/{request_id}/archive/status")
    assert (status["state"], status["bytes"], status["total"]) == ("ready", len(data), 2)
    profile = ada.lookup("email", ADA)["id"]
    used = ada.api("GET", f"/profiles/{profile}/uses?limit=100", purpose="compliance_review")["items"]
    told = {one["action"]: one for one in used if one["action"].startswith("archive.")}
    assert told.keys() == {"archive.begin", "archive.ready", "archive.download", "archive.read"}
    assert {one["purpose"] for one in told.values()} == {"rights"}
    entries = ada.api("GET", "/audit?action=archive.download")["items"]
    assert entries[0]["object"]["sha256"] == status["sha256"]


def test_nothing_of_it_is_clear_where_it_is_stored(ada: Caller) -> None:
    ready(ada)
    with ada.services.store.reading() as connection:
        stored = b"".join(bytes(one) for one in connection.execute(select(archive_chunks.c.sealed)).scalars())
    assert b"PK\x03\x04" not in stored
    assert b"index.html" not in stored


def test_a_building_that_ends_halfway_is_begun_again(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process leaves a row, chunks and a key; whoever takes the request up begins anew."""
    request_id = ask_quietly(ada)

    def killed(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(build.Builder, "_gathered", killed)
        with pytest.raises(RuntimeError):
            ada.services.archives.fulfil(found(ada, request_id))
    status = ada.api("GET", f"/rights/requests/{request_id}/archive/status")
    assert (status["state"], status["done"], status["total"]) == ("building", 2, 2)
    fetched(ada, request_id, expect=409)
    ada.services.rights.verify("key:1", request_id, "document")
    assert worked_on(ada, request_id) == "fulfilled"
    assert Opened(fetched(ada, request_id)).values == {("email", ADA), ("user_id", "ada")}
    assert live_keys(ada) == 1


def test_of_two_that_build_one_counts(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = ask_quietly(ada)
    request, archives_ = found(ada, request_id), ada.services.archives
    gathered = build.Builder._gathered
    other: list[Any] = []

    def overtaken(self: Any, **given: Any) -> Any:
        if not other:
            other.append(None)
            other.append(archives_.fulfil(request))
        return gathered(self, **given)

    monkeypatch.setattr(build.Builder, "_gathered", overtaken)
    assert archives_.fulfil(request) is None
    assert other[1].result["archive_bytes"] == len(fetched(ada, request_id))
    assert live_keys(ada) == 1


def test_somebody_erased_while_it_is_built_is_in_no_archive(
    ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = ask_quietly(ada)
    gathered = build.Builder._gathered

    def erased(self: Any, **given: Any) -> Any:
        held = gathered(self, **given)
        erase(ada, ADA, "email")
        return held

    monkeypatch.setattr(build.Builder, "_gathered", erased)
    assert ada.services.archives.fulfil(found(ada, request_id)) is None
    fetched(ada, request_id, expect=404)


def ask_quietly(caller: Caller) -> str:
    """Ask for Ada's archive; nobody works on it but the test, as nobody said yet that it is her."""
    number = number_of(caller, ADA, "email")
    assert number is not None
    return caller.services.rights.open("key:1", number, "access", "officer", verified=False).request_id


def found(caller: Caller, request_id: str) -> Any:
    return caller.services.rights.find("key:1", request_id)


# -- links ------------------------------------------------------------------------------------------


def test_the_link_opens_a_page_and_its_button_the_archive(ada: Caller) -> None:
    request_id = ready(ada)
    path = link(ada, request_id)
    assert ADA not in path
    for _ in range(3):  # as mail scanners do
        page = ada.http.get(path)
        assert page.status_code == 200
        assert "Download my data" in page.text
        assert ADA not in page.text
        assert ada.http.head(path).status_code == 200
    assert uses(ada, "archive.download") == []
    for _ in range(2):
        answer = ada.http.post(path)
        assert answer.status_code == 200
        assert Opened(answer.content).data == fetched(ada, request_id)
    assert ("archive.download", "person") in uses(ada, "archive.download")
    headers = answer.headers
    assert headers["content-type"] == "application/zip"
    assert headers["content-disposition"] == 'attachment; filename="your-data.zip"'
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["accept-ranges"] == "none"
    assert int(headers["content-length"]) == len(answer.content)


def test_a_part_of_it_is_not_handed_over_and_a_head_is_no_download(ada: Caller) -> None:
    request_id = ready(ada)
    path = f"/api/v1/rights/requests/{request_id}/archive"
    given = {"Authorization": f"Bearer {ada.operator_key}", "Range": "bytes=10-20"}
    whole = ada.http.get(path, headers=given)
    assert (whole.status_code, len(whole.content)) == (200, len(fetched(ada, request_id)))
    looked = ada.http.head(path, headers=given)
    assert (looked.status_code, looked.content) == (200, b"")
    assert len(uses(ada, "archive.download")) == 2


def test_a_link_opens_that_archive_and_no_other(ada: Caller, clock: FixedClock) -> None:
    paths = [link(ada, ready(ada)), link(ada, ready(ada, EVE))]
    ada_data, eve_data = (Opened(ada.http.post(path).content) for path in paths)
    assert ("email", EVE) in eve_data.values
    assert EVE not in ada_data.everything
    token = paths[0].rpartition("/")[2]
    for wrong in (f"{paths[0][:-4]}AAAA", f"/preferences/{token}", f"/preferences/confirm/{token}"):
        assert ada.http.get(wrong).status_code == 404
    manage = ada.api(
        "POST", "/preferences/links", {"kind": "manage", "identifier": {"type": "email", "value": EVE}}
    )
    stolen = urlsplit(manage["url"]).path.replace("/preferences/", "/preferences/archive/")
    assert ada.http.post(stolen).status_code == 404
    clock.advance(14 * DAY)
    for path in paths:
        assert ada.http.get(path).status_code == ada.http.post(path).status_code == 404


def test_whoever_asked_on_the_preference_page_fetches_it_there(ada: Caller) -> None:
    def page_of(value: str) -> str:
        body = {"kind": "manage", "identifier": {"type": "email", "value": value}}
        return str(urlsplit(ada.api("POST", "/preferences/links", body)["url"]).path)

    path = page_of(ADA)
    assert "Download your data" not in ada.http.get(path).text
    ada.http.post(path, data={"do": "request", "kind": "access"})
    request_id = ada.api("GET", "/rights/requests")["items"][0]["id"]
    assert worked_on(ada, request_id) == "fulfilled"
    assert "Download your data" in ada.http.get(path).text
    answer = ada.http.post(path, data={"do": "archive", "request": request_id})
    assert ("email", ADA) in Opened(answer.content).values
    other = ada.http.post(page_of(EVE), data={"do": "archive", "request": request_id})
    assert other.status_code == 404
    numbers = [number_of(ada, address, "email") for address in (EVE, ADA)]
    both = ada.services.rights.open("key:1", numbers[0] or 0, "access", "officer", others=[numbers[1] or 0])
    assert worked_on(ada, both.request_id) == "fulfilled"
    assert "Download your data" not in ada.http.get(page_of(EVE)).text  # she proved one of two
    part = ada.http.post(page_of(EVE), data={"do": "archive", "request": both.request_id})
    assert part.status_code == 404


# -- ends -------------------------------------------------------------------------------------------


def test_it_expires_with_its_key(ada: Caller, clock: FixedClock) -> None:
    request_id = ready(ada)
    clock.advance(14 * DAY - DAY)
    fetched(ada, request_id)
    clock.advance(DAY)
    fetched(ada, request_id, expect=404)
    assert live_keys(ada) == 1
    assert ada.services.archives.expire() == 1
    assert (live_keys(ada), left(ada)) == (0, 0)
    assert ada.services.archives.expire() == 0


def test_a_key_that_nothing_ended_ends_with_its_retention(ada: Caller, clock: FixedClock) -> None:
    ready(ada)
    clock.advance(16 * DAY)
    (name,) = (one for one in ada.services.keyring.ended_buckets() if one.startswith("archive/"))
    ada.services.keyring.destroy_buckets([name])
    with pytest.raises(KeyAccessError):
        ada.services.keyring.bucket(name)


def test_erasing_anybody_in_it_ends_it(ada: Caller) -> None:
    request_id, others = ready(ada), ready(ada, EVE)
    path = link(ada, request_id)
    number = number_of(ada, "ada")
    assert number is not None
    with ada.services.committer.batch() as batch:
        assert ada.services.archives.forget(batch, [number]) == 1
    fetched(ada, request_id, expect=404)
    assert ada.http.get(path).status_code == ada.http.post(path).status_code == 404
    assert live_keys(ada) == 1
    fetched(ada, others)


def test_somebody_erased_is_handed_to_nobody_even_where_nobody_ended_it(ada: Caller) -> None:
    request_id = ready(ada)
    erase(ada, "ada")
    fetched(ada, request_id, expect=404)
    assert (live_keys(ada), left(ada)) == (0, 0)


def test_an_erasure_ends_a_download_that_has_begun(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp.rights.archive.write.CHUNK", 1000)
    request_id = ready(ada)
    begun = ada.services.archives.download("key:1", request_id)
    assert len(next(begun.pieces)) == 1000
    number = number_of(ada, "ada")
    assert number is not None
    with ada.services.committer.batch() as batch:
        ada.services.archives.forget(batch, [number])
    with pytest.raises((NotFoundError, KeyAccessError)):
        list(begun.pieces)


def test_a_request_taken_back_has_no_archive(ada: Caller) -> None:
    request_id = ask_quietly(ada)
    assert ada.services.archives.fulfil(found(ada, request_id)) is not None
    fetched(ada, request_id)
    ada.services.rights.cancel("key:1", request_id)
    fetched(ada, request_id, expect=404)
    assert (live_keys(ada), left(ada)) == (0, 0)


def test_a_restriction_ends_nothing(ada: Caller) -> None:
    request_id = ready(ada)
    restriction = {"identifier": {"type": "email", "value": ADA}, "kind": "restriction"}
    ada.api("POST", "/rights/requests", restriction)
    fetched(ada, request_id)
    assert archive_of(ada, kind="portability").names


def test_a_lost_key_of_the_archive_is_refused_and_not_begun(ada: Caller) -> None:
    request_id = ready(ada)
    with ada.services.store.reading() as connection:
        known = queries.find(connection, request_id)
    assert known is not None
    ada.services.keyring.destroy_buckets([known.bucket])
    fetched(ada, request_id, expect=503)


# -- who may ----------------------------------------------------------------------------------------


def test_officers_alone_with_the_purpose_and_only_for_what_has_an_archive(ada: Caller) -> None:
    request_id = ready(ada)
    steward = ada.officer("steward", roles=("steward",))
    body = {"name": "reviewer", "roles": ["officer"], "purposes": ["compliance_review"]}
    reviewer = ada.api("POST", "/keys", body)["key"]
    for path in ("", "/status"):
        for key in (steward, reviewer):
            ada.api("GET", f"/rights/requests/{request_id}/archive{path}", key=key, expect=403)
    ada.api("POST", f"/rights/requests/{request_id}/archive/link", key=steward, expect=403)
    other = ada.api(
        "POST", "/rights/requests", {"identifier": {"type": "email", "value": ADA}, "kind": "rectification"}
    )
    for unknown in (other["id"], "r_unknown"):
        fetched(ada, unknown, expect=404)
        ada.api("POST", f"/rights/requests/{unknown}/archive/link", expect=404)
