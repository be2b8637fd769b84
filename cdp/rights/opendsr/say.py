"""What we say in OpenDSR 2.0, as the bytes that go on the wire: pure.

Invariants: a body is made once, and its signature is over those very bytes (section 9); it stands in the
header alone, as no value can sign a body that holds it; an error names no identity and no secret.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping

import msgspec

from cdp.clock import Micros, rfc3339
from cdp.rights.opendsr.model import ASKED_KINDS, IDENTITY_TYPES, VERSION, AskedKind, Status

FAMILIES = ("X-OpenDSR", "X-OpenGDPR")
"""How header names begin: of 2.0, and of the version before, which receivers may still read (section 2)."""

Sign = Callable[[bytes], bytes]


def headers(domain: str, signature: bytes | None) -> dict[str, str]:
    """Return the headers of an answer or a callback, in both families."""
    said = {"Processor-Domain": domain}
    if signature is not None:
        said["Signature"] = base64.b64encode(signature).decode()
    return {f"{family}-{name}": value for family in FAMILIES for name, value in said.items()}


def header(given: Mapping[str, str], name: str) -> str:
    """Return a header of either family; empty where there is none.

    :param given: header names in lower case.
    """
    found = (given.get(f"{family}-{name}".lower(), "") for family in FAMILIES)
    return next((value for value in found if value), "")


def discovery(declared: Callable[[str], bool], certificate_url: str) -> bytes:
    """Return what we are: raw identities only, as hashed ones cannot be looked up here."""
    types = [name for name, ours in IDENTITY_TYPES.items() if any(map(declared, ours))]
    return msgspec.json.encode(
        {
            "api_version": VERSION,
            "supported_identities": [{"identity_type": name, "identity_format": "raw"} for name in types],
            "supported_subject_request_types": list(ASKED_KINDS),
            "processor_certificate": certificate_url,
        }
    )


def created(
    controller_id: str, subject_request_id: str, received_at: Micros, expected_at: Micros, raw: bytes
) -> bytes:
    """Return the answer to a new request; ``raw`` is the request, byte for byte."""
    return msgspec.json.encode(
        {
            "api_version": VERSION,
            "controller_id": controller_id,
            "subject_request_id": subject_request_id,
            "received_time": rfc3339(received_at),
            "expected_completion_time": rfc3339(expected_at),
            "encoded_request": base64.b64encode(raw).decode(),
        }
    )


def status(
    controller_id: str,
    subject_request_id: str,
    expected_at: Micros,
    standing: Status,
    *,
    results: tuple[str, ...] | None = None,
    callback_url: str | None = None,
) -> bytes:
    """Return where a request stands: the answer to a GET, and with ``callback_url`` a callback.

    :param results: where what it gave can be fetched, at most one address; None for what gives nothing.
    """
    said: dict[str, str | int] = {
        "api_version": VERSION,
        "controller_id": controller_id,
        "subject_request_id": subject_request_id,
        "expected_completion_time": rfc3339(expected_at),
        "request_status": standing,
    }
    if callback_url is not None:
        said["status_callback_url"] = callback_url
    if results is not None:
        said["results_count"] = len(results)
        said |= dict(zip(("results_url",), results, strict=False))
    return msgspec.json.encode(said)


def cancelled(controller_id: str, subject_request_id: str, received_at: Micros) -> bytes:
    """Return the answer to a cancellation."""
    return msgspec.json.encode(
        {
            "api_version": VERSION,
            "controller_id": controller_id,
            "subject_request_id": subject_request_id,
            "received_time": rfc3339(received_at),
        }
    )


def error(code: int, message: str, domain: str, reason: str) -> bytes:
    """Return an error (section 5)."""
    one = {"domain": domain, "reason": reason, "message": message}
    return msgspec.json.encode({"error": {"code": code, "message": message, "errors": [one]}})


def asked(
    child_id: str,
    kind: AskedKind,
    regulation: str,
    submitted_at: Micros,
    refs: Iterable[str],
    callback_url: str | None,
) -> bytes:
    """Return a request of ours to a recipient, about whoever it knows by these references.

    :param callback_url: None where nobody can call us back.
    """
    return msgspec.json.encode(
        {
            "api_version": VERSION,
            "regulation": regulation,
            "subject_request_id": child_id,
            "subject_request_type": kind,
            "submitted_time": rfc3339(submitted_at),
            "subject_identities": [
                {
                    "identity_type": "controller_customer_id",
                    "identity_value": ref,
                    "identity_format": "raw",
                }
                for ref in refs
            ],
            "status_callback_urls": [] if callback_url is None else [callback_url],
        }
    )
