"""The root of the error tree, its typed fields and the registry that every class enters by being defined."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import grpc

# AIP-193: at most 63 characters of this form.
_REASON = re.compile(r"^[A-Z][A-Z0-9_]{0,61}[A-Z0-9]$")

ERRORS: dict[str, type[LikenessError]] = {}
"""The error table: every class that a client can meet, by its reason."""


@dataclass(frozen=True)
class FieldViolation:
    """One thing that is wrong with one field of a request."""

    field: str
    """Path of the field, for example ``loras[0].strength``; empty when the whole message is meant."""
    message: str
    """What is wrong, for a person."""
    rule: str = ""
    """The rule that was broken, UPPER_SNAKE, for example ``INT32_GTE``; empty when it has no name."""


class LikenessError(Exception):
    """An error that a client is meant to see.

    Class attributes say what kind it is; a class that sets ``reason`` enters the table `ERRORS`. The reason is the
    machine-readable name and part of the contract: it never changes its meaning.
    """

    reason: ClassVar[str] = ""
    """Machine-readable name, UPPER_SNAKE, at most 63 characters."""
    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    """Status over gRPC."""
    http_status: ClassVar[int] = 500
    """Status over HTTP."""
    title: ClassVar[str] = ""
    """What happened, in a few words that never change."""

    message: str
    """What happened this time, for a person."""
    field: str | None
    """Path of the request's field that is wrong, for example ``reference_image``; None when no field is."""
    retry_after_seconds: float | None
    """When trying again makes sense; None when it does not, or is not known."""
    metadata: dict[str, str]
    """Further facts for programs, for example the limit that was passed."""
    request_id: str | None
    """The call that failed; set by the server, and by `from_status`."""

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_seconds: float | None = None,
        **metadata: str,
    ) -> None:
        """Make the error; keyword arguments beyond the named ones become `metadata`."""
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.metadata = metadata
        self.request_id = None

    def __init_subclass__(cls) -> None:
        """Enter the class into `ERRORS` when it has a reason of its own."""
        super().__init_subclass__()
        if "reason" not in cls.__dict__:
            return
        if not _REASON.match(cls.reason) or cls.reason in ERRORS:
            raise TypeError(f"{cls.__name__}.reason {cls.reason!r} is taken or not UPPER_SNAKE")
        ERRORS[cls.reason] = cls

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """What is wrong with which field; empty when the error is about no field."""
        return (FieldViolation(self.field, self.message),) if self.field else ()


class ImageError(LikenessError):
    """A picture that was handed in cannot be used."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400


class FaceError(LikenessError):
    """A picture could be read, but its faces do not allow what was asked."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 422
