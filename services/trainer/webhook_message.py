"""A webhook's message after the Standard Webhooks specification (standardwebhooks.com): name, body and signature."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from likeness.errors import InvalidRequest

_PREFIX = "whsec_"
_MIN_KEY_BYTES, _MAX_KEY_BYTES = 24, 64
_EVENT_PREFIX = "training_job."


def message_id(uid: str, sequence: int) -> str:
    """Return the name of a job's event: the same for every attempt to deliver it."""
    return f"msg_{uid}_{sequence}"


def webhook_body(job_id: str, character_id: str, event: dict[str, Any]) -> str:
    """Return the body of a message: ``type``, ``timestamp`` and, under ``data``, the event with the job's names."""
    data = {"job_id": job_id, "character_id": character_id, **event}
    document = {"type": _EVENT_PREFIX + data.pop("type"), "timestamp": data.pop("time"), "data": data}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def decode_secret(secret: str, field: str = "webhook_secret") -> bytes:
    """Return the key of ``whsec_<base64>``. Raises InvalidRequest when it is not one of 24 to 64 bytes."""
    try:
        key = binascii.a2b_base64(secret.removeprefix(_PREFIX).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if not secret.startswith(_PREFIX) or not _MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES:
        raise InvalidRequest(
            f"{field}: must be {_PREFIX} and {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} bytes in base64", field=field
        )
    return key


def signed_headers(name: str, body: bytes, *, secret: str, now: float) -> dict[str, str]:
    """Return the headers that name, date and sign a message.

    Args:
        name: the message's id, from `message_id`.
        body: what is sent, to the byte.
        secret: ``whsec_<base64>``.
        now: when it is sent, seconds of the epoch.
    """
    timestamp = str(int(now))
    signed = b".".join((name.encode(), timestamp.encode(), body))
    digest = hmac.new(decode_secret(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": name,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode("ascii"),
    }
