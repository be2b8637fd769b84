"""Schemathesis over the OpenAPI document of the whole application: no 5xx, no hang, nothing said again.

Every operation is called with what its schema allows and with what it forbids, by somebody who has every
role, and once by each role alone, by a source, and by nobody. ``CDP_FUZZ_EXAMPLES`` says how many examples of
each kind an operation gets; CI takes few, always the same. The ingest routes get more of them, most under the
key of a source: what their schemas allow is to be taken.
"""

from __future__ import annotations

import os
import re
import warnings
from typing import Any

import pytest
from caller import Caller
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cdp.access import OPERATOR_ROLES

schemathesis = pytest.importorskip("schemathesis")
EXAMPLES = int(os.environ.get("CDP_FUZZ_EXAMPLES", "1"))
CANARY = "zqcanary"
HOSTILE = ("%00", "..%2F..%2Fetc", "%FF", "0", "-1", "9" * 30, "%F0%9F%98%80", "a%0Ab", CANARY)
INGEST = re.compile(r"/v1/(?!m$)|/beacon/")
OWN_KEY = ("/v1/", "/beacon/", "/v2/", "/opengdpr", "/opendsr", "/graphql")


def said(caller: Caller) -> dict[str, Any]:
    """Put something into the platform; returns what paths may name."""
    caller.send(
        {"type": "identify", "userId": "ann", "messageId": "1", "traits": {"country": "DE"}},
        {"type": "track", "event": "Order Completed", "userId": "ann", "messageId": "2"},
        wait=True,
    )
    caller.api("PUT", "/segments/buyers", {"where": {"event": "Order Completed"}})
    return {
        "profile_id": [caller.lookup("user_id", "ann")["id"]],
        "name": ["buyers", "test-server"],
        "index": ["1"],
        "run_no": ["1"],
        "record_id": ["1"],
        "path": ["entries/000"],
    }


def keys(caller: Caller) -> dict[str, str]:
    """Return a key for everybody who may call: all roles at once first."""
    found = {"all": caller.officer("all", roles=tuple(OPERATOR_ROLES))}
    found |= {role: caller.officer(role, roles=(role,)) for role in OPERATOR_ROLES}
    return found | {"source": caller.write_key(), "browser": caller.write_key("browser"), "nobody": ""}


def marked(value: Any) -> Any:
    """Return a generated value with the canary in each of its longer texts."""
    if isinstance(value, dict):
        return {key: marked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner) for inner in value]
    return CANARY + value[4:] if isinstance(value, str) and len(value) > 12 else value


def call(caller: Caller, case: Any, key: str) -> int:
    """Send a case and judge the answer and the log; returns its status."""
    case.body = marked(case.body)
    if isinstance(case.body, dict) and "writeKey" in case.body:
        case.body["writeKey"] = key
    sent = case.as_transport_kwargs(base_url="http://testserver")
    headers = {name: value for name, value in sent["headers"].items() if name.lower() != "user-agent"}
    headers |= {"CDP-Purpose": "data_quality"} | ({"Authorization": f"Bearer {key}"} if key else {})
    more = {name: sent[name] for name in ("params", "json") if sent.get(name) is not None}
    if isinstance(sent.get("data"), str | bytes):
        more["content"] = sent["data"]
    with capture_logs() as logs:
        answer = caller.http.request(sent["method"], sent["url"], headers=headers, timeout=20, **more)
    assert answer.status_code < 500, (answer.status_code, answer.text, logs)
    assert CANARY not in str(logs)
    assert answer.status_code < 400 or CANARY not in answer.text, answer.text
    return answer.status_code


@pytest.mark.filterwarnings("ignore")  # of Schemathesis, about formats that it does not know
def test_every_operation_answers_whatever_it_is_asked(caller: Caller) -> None:
    known, who = said(caller), keys(caller)
    schema = schemathesis.openapi.from_dict(caller.http.get("/schema/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 150
    everybody = list(who.values())
    taken: set[str] = set()
    for operation in operations:
        others = everybody if operation.path.startswith(OWN_KEY) else everybody[:1]
        ingest = operation.method == "post" and INGEST.match(operation.path)
        if ingest:
            others = [who["source"], who["browser"]]

        @hypothesis_settings(
            max_examples=(10 if ingest else 2) * EXAMPLES,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases(operation), st.sampled_from(others), st.data())
        def answers(case: Any, key: str, data: st.DataObject) -> None:
            for name in case.path_parameters or {}:
                options = st.sampled_from([*known.get(name, ()), case.path_parameters[name]])
                case.path_parameters[name] = data.draw(options | st.sampled_from(HOSTILE))
            if call(caller, case, key) == 200 and case.meta.generation.mode.is_positive:
                taken.add(case.operation.path)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers()
            case = operation.Case(path_parameters=dict.fromkeys(_names(operation), "1"))
            for key in everybody[1:]:
                call(caller, case, key)
    assert taken >= {
        found.path for found in operations if found.method == "post" and INGEST.match(found.path)
    }


def _names(operation: Any) -> list[str]:
    return [part.strip("{}") for part in operation.path.split("/") if part.startswith("{")]


def cases(operation: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of what an operation's schema allows, and forbids where it can be broken."""
    mode = schemathesis.GenerationMode
    modes = [mode.POSITIVE, mode.NEGATIVE] if operation.body or operation.query else [mode.POSITIVE]
    return st.one_of(*(operation.as_strategy(generation_mode=one) for one in modes))
