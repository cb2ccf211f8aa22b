"""Likeness for its clients: `AsyncClient` and `Client`, their results and errors, and the generated contract.

    from likeness import Client

    with Client() as client:
        client.generate("a professional woman in a modern office").pictures[0].picture.save("office.png")

Nothing here needs torch. The names below load when they are first used, so that a server which needs only the contract
or the errors does not load the client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likeness._face_requests import Reference
    from likeness.calls import CallOptions
    from likeness.channel import ChannelOptions
    from likeness.client import AsyncClient
    from likeness.errors import LikenessError
    from likeness.metadata import CallMetadata
    from likeness.results import FaceOrder, ImageFormat, LoraUse, Priority
    from likeness.sync import Client

__all__ = [
    "AsyncClient",
    "CallMetadata",
    "CallOptions",
    "ChannelOptions",
    "Client",
    "FaceOrder",
    "ImageFormat",
    "LikenessError",
    "LoraUse",
    "Priority",
    "Reference",
]

_MODULES = {
    "AsyncClient": "likeness.client",
    "CallMetadata": "likeness.metadata",
    "CallOptions": "likeness.calls",
    "ChannelOptions": "likeness.channel",
    "Client": "likeness.sync",
    "FaceOrder": "likeness.results",
    "ImageFormat": "likeness.results",
    "LikenessError": "likeness.errors",
    "LoraUse": "likeness.results",
    "Priority": "likeness.results",
    "Reference": "likeness._face_requests",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module 'likeness' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
