"""The preference page over HTTP: what a person sees and does."""

from __future__ import annotations

import re

import pytest
from caller import Caller
from preference_reader import (
    ADDRESS,
    ANALYTICS,
    EMAIL,
    SMS,
    ada_known,
    answers,
    link,
    press,
    records,
    state,
    texts,
)

from cdp.clock import DAY, SECOND, FixedClock
from cdp.consent import Statement

ada = pytest.fixture(ada_known, name="ada")


def test_the_page_shows_what_holds_and_saves_what_is_changed(ada: Caller, clock: FixedClock) -> None:
    path = link(ada)
    page = ada.http.get(path)
    assert page.status_code == 200
    assert "You said yes on 1 March 2026." in page.text
    assert re.search(rf'name="choice.{EMAIL}" value="yes" checked', page.text)
    assert not re.search(rf'name="choice.{SMS}" value="\w+" checked', page.text)
    clock.advance(SECOND)
    form = answers(page.text, marketing__communications__email="no", marketing__communications__sms="yes")
    done = press(ada, path, **form)
    assert done.status_code == 200
    assert done.history[0].status_code == 303
    assert "Your choices are saved." in done.text
    assert "You took your consent back on 1 March 2026." in done.text
    assert state(ada) == "withdrawn"
    assert state(ada, SMS) == "granted"
    newest = {record.purpose: record for record in records(ada)}
    assert newest[SMS].method == newest[EMAIL].method == "preference_page"
    assert newest[SMS].event_type == "separate"
    assert newest[SMS].notice_id == "sms-news"
    assert newest[SMS].sealed is not None


def test_whoever_wants_no_choice_by_their_data_reads_what_to_ask_for(ada: Caller, clock: FixedClock) -> None:
    """PIPL 24, GDPR 22: beside the question, in plain words, and one click away."""
    path = link(ada)
    page = ada.http.get(path, params={"lang": "en"}).text
    assert "If you do not want us to choose by your data: The same newsletter for everybody" in page
    assert "To get that, answer yes to “E-mail news, the same for everybody” on this page." in page
    assert "<legend>E-mail news, the same for everybody</legend>" in page
    chinese = ada.http.get(path, params={"lang": "zh"}).text
    assert "如果您不希望我们根据您的个人信息作出选择" in chinese
    assert "除语言外不作任何选择。" in chinese
    assert "请在本页对“人人相同的电子邮件资讯”选择“同意”" in chinese
    clock.advance(SECOND)
    chosen = {"marketing__communications__email": "no", "marketing__communications__email_plain": "yes"}
    assert "Your choices are saved." in press(ada, path, **answers(page, **chosen)).text
    assert state(ada) == "withdrawn"
    assert state(ada, f"{EMAIL}_plain") == "granted"
    newest = {record.purpose: record for record in records(ada)}
    assert (newest[f"{EMAIL}_plain"].event_type, newest[f"{EMAIL}_plain"].notice_id) == (
        "separate",
        "email-plain",
    )


def test_no_identifier_stands_in_a_url_or_on_a_page(ada: Caller) -> None:
    path = link(ada)
    page = ada.http.get(path).text
    for text in (path, page):
        assert ADDRESS not in text
        assert "lovelace" not in text.lower()
    assert "the e-mail address that we sent its link to" in page


def test_looking_changes_nothing_whatever_the_link(ada: Caller) -> None:
    before = len(records(ada))
    paths = [link(ada), link(ada, "withdraw", purposes=[EMAIL])]
    for path in paths:
        for _ in range(3):
            assert ada.http.get(path).status_code == 200
            assert ada.http.head(path).status_code == 200
    assert len(records(ada)) == before
    assert state(ada) == "granted"


def test_every_answer_keeps_to_itself(ada: Caller) -> None:
    path = link(ada)
    got = [ada.http.get(path), ada.http.get("/preferences/forged"), press(ada, path, do="save")]
    got += [done.history[0] for done in got if done.history]
    for answer in got:
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; form-action 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "set-cookie" not in answer.headers
        assert "<script" not in answer.text
        assert not re.search(r'(src|href|action)="(?!/preferences/|#)', answer.text)


def test_the_scope_is_the_address_and_not_the_profile(ada: Caller) -> None:
    """What is recorded of another identity of the same profile is not on the page."""
    other = {"identifiers": [{"type": "user_id", "value": "ada"}], "purpose": SMS, "state": "granted"}
    ada.api("POST", "/consents", other)
    page = ada.http.get(link(ada)).text
    assert not re.search(rf'name="choice.{SMS}" value="\w+" checked', page)
    assert "SMS marketing</td>" not in page


def test_a_no_binds_everybody_in_the_profile(ada: Caller) -> None:
    path = link(ada)
    press(ada, path, **answers(ada.http.get(path).text, marketing__communications__sms="no"))
    profile = ada.lookup("user_id", "ada")
    found = ada.api("GET", f"/profiles/{profile['id']}/consents", purpose="compliance_review")["items"]
    assert next(item["state"] for item in found if item["purpose"] == SMS) == "withdrawn"


def test_no_to_everything_and_yes_again(ada: Caller, clock: FixedClock) -> None:
    path = link(ada)
    done = press(ada, path, do="none", lang="en")
    assert "Your choices are saved." in done.text
    assert {state(ada, key) for key in (EMAIL, SMS, ANALYTICS)} == {"withdrawn"}
    clock.advance(SECOND)
    press(ada, path, **answers(done.text, marketing__communications__email="yes"))
    assert state(ada) == "granted"
    assert state(ada, SMS) == "withdrawn"


def test_saving_what_holds_already_says_so_and_records_nothing(ada: Caller) -> None:
    path = link(ada)
    before = len(records(ada))
    done = press(ada, path, **answers(ada.http.get(path).text, marketing__communications__email="yes"))
    assert "Nothing was changed" in done.text
    assert len(records(ada)) == before


def test_a_yes_counts_for_the_text_on_the_page_only_and_a_no_always(ada: Caller) -> None:
    path = link(ada)
    form = answers(
        ada.http.get(path).text, marketing__communications__sms="yes", marketing__communications__email="no"
    )
    done = press(ada, path, **{**form, "texts": "0" * 32})
    assert "This page changed" in done.text
    assert state(ada, SMS) == "missing"
    assert state(ada) == "withdrawn"


def test_a_form_with_nonsense_is_no_change(ada: Caller) -> None:
    path = link(ada)
    page = ada.http.get(path).text
    before = len(records(ada))
    nonsense = {
        **answers(page, marketing="yes", rights="no", unheard__of="no"),
        f"choice.{EMAIL}": "perhaps",
        "choice.": "no",
        "x" * 500: "y",
    }
    assert "Nothing was changed" in press(ada, path, **nonsense).text
    assert ada.http.post(path, content=b"\xff\xfe%%%&&==").status_code in {200, 400}
    assert ada.http.post(path, content=b"a=b&" * 1000).status_code == 400
    assert ada.http.post(path, content=b"a" * 100_000).status_code == 413
    assert len(records(ada)) == before


def test_requests_have_a_deadline_and_objections_act_at_once(ada: Caller) -> None:
    path = link(ada)
    done = press(ada, path, do="request", kind="access", lang="en")
    assert "Your request is received." in done.text
    assert re.search(r"Access, asked on 1 March 2026: [a-z ]+\. We answer by \d+ \w+ 2026\.", done.text)
    press(ada, path, do="request", kind="access", lang="en")  # a second click opens no second one
    assert state(ada) == "granted"
    press(ada, path, do="request", kind="objection", lang="en")
    assert state(ada) == "objected"
    assert "Please choose" in press(ada, path, do="request", kind="everything", lang="en").text
    listed = ada.api("GET", "/rights/requests")["items"]
    assert sorted((item["kind"], item["channel"]) for item in listed) == [
        ("access", "preference_page"),
        ("objection", "preference_page"),
    ]


def test_a_restriction_stands_and_the_page_does_not_lift_it(ada: Caller) -> None:
    path = link(ada)
    done = press(ada, path, do="request", kind="restriction", lang="en")
    assert "This use is restricted since 1 March 2026." in done.text
    assert "Only our data protection officer lifts a restriction" in done.text
    press(ada, path, do="lift", purpose="segmentation")
    assert state(ada, "segmentation") == "restricted"
    press(ada, path, **answers(done.text, marketing__communications__email="yes"))
    assert state(ada) == "restricted"


def test_an_objection_is_shown_and_lifted_by_a_button(ada: Caller, clock: FixedClock) -> None:
    path = link(ada)
    button = r'name="purpose" value="segmentation">\s*<p><button type="submit" name="do" value="{}"'
    assert re.search(button.format("object"), ada.http.get(path).text)
    done = press(ada, path, do="object", purpose="segmentation", lang="en")
    assert "You objected on 1 March 2026." in done.text
    assert state(ada, "segmentation") == "objected"
    assert state(ada, "data_quality") == "missing"
    count = len(records(ada))
    press(ada, path, do="object", purpose="segmentation")
    for key in ("rights", "compliance_review", EMAIL, "unheard.of"):  # nothing that the page offers
        assert "Nothing was changed" in press(ada, path, do="object", purpose=key, lang="en").text
    assert len(records(ada)) == count
    clock.advance(SECOND)
    assert re.search(button.format("lift"), ada.http.get(path).text)
    shown = texts(ada.http.get(path).text)
    done = press(ada, path, do="lift", purpose="segmentation", texts=shown, lang="en")
    assert "Your choices are saved." in done.text
    assert re.search(button.format("object"), done.text)
    assert state(ada, "segmentation") not in {"objected", "restricted"}
    profile = ada.lookup("user_id", "ada")["id"]
    found = ada.api("GET", f"/profiles/{profile}/consents", purpose="compliance_review")["items"]
    assert next(item["state"] for item in found if item["purpose"] == "segmentation") != "objected"


def test_an_objection_to_everything_is_lifted_by_a_yes_for_each_use(ada: Caller, clock: FixedClock) -> None:
    path = link(ada)
    done = press(ada, path, do="request", kind="objection", lang="en")
    assert "Your objection holds until you lift it." in done.text
    clock.advance(SECOND)
    press(ada, path, **answers(done.text, marketing__communications__email="yes"))
    assert state(ada) == "granted"
    assert state(ada, SMS) == "objected"


def test_languages(ada: Caller) -> None:
    path = link(ada, language="zh-CN")
    page = ada.http.get(path)
    assert '<html lang="zh">' in page.text
    assert "由您决定" in page.text
    assert page.headers["content-language"] == "zh"
    assert '<html lang="en">' in ada.http.get(path, params={"lang": "en"}).text
    plain = link(ada)
    chinese = {"Accept-Language": "fr;q=0.9, zh-Hans-CN;q=0.8"}
    assert '<html lang="zh">' in ada.http.get(plain, headers=chinese).text
    assert '<html lang="en">' in ada.http.get(plain, headers={"Accept-Language": "tlh"}).text
    done = press(ada, path, do="none", lang="zh")
    assert "您的选择已保存" in done.text


def test_looking_and_changing_are_on_record_with_the_person_as_subject(ada: Caller) -> None:
    path = link(ada)
    ada.http.get(path)
    press(ada, path, do="none")
    for action in ("link.make", "preferences.show", "consent.record"):
        found = ada.api("GET", f"/audit?action={action}")["items"]
        assert found, action
    profile = ada.lookup("email", ADDRESS)
    uses = ada.api("GET", f"/profiles/{profile['id']}/uses?limit=100", purpose="compliance_review")["items"]
    assert {"link.make", "preferences.show"} <= {use["action"] for use in uses}


def test_an_error_is_a_page_that_tells_nothing(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    path = link(ada)

    def fail(*_: object) -> None:
        raise RuntimeError(ADDRESS)

    monkeypatch.setattr(type(ada.services.ledger), "records_of", fail)
    answer = ada.http.get(path)
    assert answer.status_code == 500
    assert "Please try again in a moment" in answer.text
    assert ADDRESS not in answer.text


def test_receipts_of_ones_own_records(ada: Caller) -> None:
    path = link(ada)
    found = re.search(rf'href="{path}/receipts/(\d+)"', ada.http.get(path).text)
    assert found
    answer = ada.http.get(f"{path}/receipts/{found[1]}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["cache-control"] == "no-store"
    assert EMAIL in answer.text
    assert ADDRESS not in answer.text
    ada.api(
        "POST",
        "/consents",
        {
            "identifiers": [{"type": "email", "value": "bob@example.org"}],
            "purpose": EMAIL,
            "state": "granted",
        },
    )
    others = str(records(ada, "bob@example.org")[0].record_id)
    for wrong in (others, "0", "x", "9" * 30):
        assert ada.http.get(f"{path}/receipts/{wrong}").status_code == 404


def exported(caller: Caller, mode: str) -> str:
    """Have everybody in Britain exported to the mailer; return the export's id."""
    where = {"where": {"trait": "country", "op": "eq", "value": "GB"}}
    caller.api("PUT", "/segments/britons", where)
    asked = {"segment": "britons", "destination": "mailer", "purpose": EMAIL, "format": "jsonl", "mode": mode}
    return str(caller.api("POST", "/exports", asked)["id"])


def fetch(caller: Caller, export: str) -> None:
    headers = {"Authorization": f"Bearer {caller.destination_key('mailer', EMAIL)}"}
    assert caller.http.get(f"/api/v1/exports/{export}/data", headers=headers).status_code == 200


@pytest.mark.parametrize("mode", ["full", "delta"])
def test_who_received_data_and_when(ada: Caller, clock: FixedClock, mode: str) -> None:
    traits = {"email": ADDRESS, "country": "GB"}
    ada.send({"type": "identify", "messageId": "m5", "userId": "ada", "traits": traits}, wait=True)
    consent = {"identifiers": [{"type": "user_id", "value": "ada"}], "purpose": EMAIL, "state": "granted"}
    ada.api("POST", "/consents", consent)
    clock.advance(DAY)
    export = exported(ada, mode)
    if mode == "full":
        assert "Nobody outside received your data" in ada.http.get(link(ada)).text
        fetch(ada, export)
    page = ada.http.get(link(ada)).text
    title = ada.services.bundle.destinations["mailer"].title
    assert re.search(rf'<th scope="row">{re.escape(title)}</th>\s*<td data-label="What for">E-mail', page)
    assert "2 March 2026" in page
    stranger = {"identifiers": [{"type": "email", "value": "bob@example.org"}], "purpose": EMAIL}
    ada.api("POST", "/consents", {**stranger, "state": "granted"})
    assert "Nobody outside received" in ada.http.get(link(ada, value="bob@example.org")).text


def test_a_yes_that_cannot_prevail_says_so(ada: Caller, clock: FixedClock) -> None:
    """A privacy signal that the law lets no click undo stays, and the page does not claim otherwise."""
    services = ada.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", ADDRESS)
    assert number is not None
    signal = Statement(
        purpose="marketing.advertising.third_party",
        state="opted_out",
        act=True,
        event_time=clock.now(),
        signal="gpc",
    )
    services.acts.record(number, [signal])
    clock.advance(SECOND)
    path = link(ada)
    page = ada.http.get(path).text
    form = answers(page, marketing__advertising__third_party="yes", marketing__communications__sms="yes")
    done = press(ada, path, **form)
    assert "still stands against some of them" in done.text
    assert state(ada, "marketing.advertising.third_party") == "opted_out"
    assert state(ada, SMS) == "granted"


@pytest.mark.parametrize("way", ["one click", "the same answer again", "no to all"])
def test_a_no_counts_again_where_another_identity_lifted_it(ada: Caller, clock: FixedClock, way: str) -> None:
    one_click = link(ada, "withdraw", purposes=[EMAIL])
    ada.http.post(one_click, data={"List-Unsubscribe": "One-Click"})
    clock.advance(SECOND)
    account = {"identifiers": [{"type": "user_id", "value": "ada"}], "purpose": EMAIL, "state": "granted"}
    ada.api("POST", "/consents", account)
    assert state(ada) == "granted"
    clock.advance(SECOND)
    path = link(ada)
    page = ada.http.get(path).text
    assert re.search(rf'name="choice.{EMAIL}" value="no" checked', page)  # the address itself said so
    if way == "one click":
        ada.http.post(one_click, data={"List-Unsubscribe": "One-Click"})
    elif way == "no to all":
        press(ada, path, do="none")
    else:
        press(ada, path, **answers(page, marketing__communications__email="no"))
    assert state(ada) == "withdrawn"
