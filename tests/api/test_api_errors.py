"""Every error of the tree has a status and a stable type; nothing that was sent is repeated."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.testing import TestClient

from cdp import errors
from cdp.api.errors import EXCEPTION_HANDLERS, classify

SECRET = "ada.nobody@example.org"


class Body(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    kind: Literal["", "a", "b"] = ""


@get("/raise/{name:str}", sync_to_thread=False)
def raising(name: FromPath[str]) -> None:
    if name == "boom":
        raise ZeroDivisionError(SECRET)
    if name == "busy":
        raise errors.OverloadedError(retry_after=7)
    raise getattr(errors, name)("what happened, where, what to do")


@get("/v1/raise/{name:str}", sync_to_thread=False)
def raising_in_ingest(name: FromPath[str]) -> None:
    raise getattr(errors, name)("what happened")


@post("/body", sync_to_thread=False)
def body(data: JSONBody[Body], n: FromQuery[int] = 0) -> None:
    del data, n


@get("/needs/{name:str}", sync_to_thread=False)
def needs(name: FromPath[str], n: FromQuery[int]) -> None:
    del name, n


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar(
        [raising, raising_in_ingest, body, needs], exception_handlers=EXCEPTION_HANDLERS, logging_config=None
    )
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def tree() -> list[type[errors.CdpError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.CdpError) and kind is not errors.CdpError
    ]


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_is_mapped(kind: type[errors.CdpError]) -> None:
    error = kind.__new__(kind)
    _, name = classify(error)
    assert name != "internal"


def test_an_error_becomes_a_problem(client: TestClient[Litestar]) -> None:
    answer = client.get("/raise/NotFoundError")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json() == {
        "type": "/problems/not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "what happened, where, what to do",
    }


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("InvalidInputError", 400),
        ("DefinitionError", 400),
        ("NotAuthenticatedError", 401),
        ("NotPermittedError", 403),
        ("ConflictError", 409),
        ("TooLargeError", 413),
        ("StoreError", 503),
        ("IntegrityError", 500),
    ],
)
def test_statuses(client: TestClient[Litestar], name: str, status: int) -> None:
    assert client.get(f"/raise/{name}").status_code == status


def test_try_again_later_says_when(client: TestClient[Litestar]) -> None:
    answer = client.get("/raise/busy")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"


def test_ingest_answers_code_and_message_and_400_over_size(client: TestClient[Litestar]) -> None:
    answer = client.get("/v1/raise/TooLargeError")
    assert answer.status_code == 400
    assert answer.json() == {"code": "too_large", "message": "what happened"}
    assert client.get("/v1/nothing/here").json()["code"] == "not_found"


def test_an_unforeseen_error_is_an_incident_and_nothing_else(
    client: TestClient[Litestar], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = client.get("/raise/boom")
    assert answer.status_code == 500
    problem = answer.json()
    assert SECRET not in answer.text
    assert problem["incident"] in problem["detail"]
    logged = capsys.readouterr()
    assert problem["incident"] in logged.out + logged.err
    assert SECRET not in logged.out + logged.err


@pytest.mark.parametrize(
    "sent",
    [
        f'{{"count": "{SECRET}"}}',
        f'{{"count": 1, "kind": 5, "{SECRET}": 1}}',
        f'{{"count": 1, "{SECRET}": "{SECRET}"}}',
        f'{{"count": {SECRET}',
        f'"{SECRET}"',
        "[]",
        "",
        "\x00",
        '{"count": 1e400}',
    ],
)
def test_a_wrong_body_is_refused_without_repeating_it(client: TestClient[Litestar], sent: str) -> None:
    answer = client.post("/body", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert SECRET not in answer.text
    assert answer.json()["type"].startswith("/problems/")


def test_a_wrong_type_is_named_with_its_place(client: TestClient[Litestar]) -> None:
    problems = client.post("/body", json={"count": "x"}).json()["problems"]
    assert problems == [{"place": "count", "problem": "Expected `int`, got `str`"}]


def test_what_does_not_fit_is_told_from_what_is_missing(client: TestClient[Litestar]) -> None:
    def problem(sent: dict[str, object]) -> str:
        return str(client.post("/body", json=sent).json()["problems"][0]["problem"])

    assert "not known here" in problem({"count": 1, SECRET: 1})
    assert "none of the values allowed" in problem({"count": 1, "kind": SECRET})
    assert problem({}) == "Object missing required field `count`"
    answer = client.get(f"/needs/{SECRET}")
    assert answer.json()["problems"][0]["problem"] == "Missing required query parameter 'n'"
    assert SECRET not in answer.text
    assert "JSON" in client.post("/body", content=b"{").json()["detail"]


def test_a_wrong_query_parameter_is_refused_without_repeating_it(client: TestClient[Litestar]) -> None:
    answer = client.post("/body", json={"count": 1}, params={"n": SECRET})
    assert answer.status_code == 400
    assert SECRET not in answer.text


def test_routes_and_methods_that_do_not_exist(client: TestClient[Litestar]) -> None:
    assert client.get("/nothing").json()["type"] == "/problems/not-found"
    wrong = client.delete("/body")
    assert wrong.status_code == 405
    assert wrong.json()["type"] == "/problems/method-not-allowed"
