"""Which URLs may be fetched: all that can be said of a URL without asking the network."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import idna

DEFAULT_PORTS = {"https": 443, "http": 80}
_MAX_URL_CHARACTERS = 2048
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
# What a URL parser of the WHATWG reads as an IPv4 address in disguise: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\.?")


class RefusedUrl(Exception):
    """The policy forbids a URL; the message says why. Becomes FetchRefused with the field."""


@dataclass(frozen=True)
class FetchPolicy:
    """What the operator allows beyond https to public addresses on port 443."""

    private_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, that may have private addresses: the operator's own picture servers."""
    http_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, that may be fetched without TLS."""
    ports: frozenset[int] = frozenset({443})
    """Ports of all other hosts."""


@dataclass(frozen=True)
class Target:
    """A URL that passed the checks that need no network."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the policy names them."""
        return f"{self.host}:{self.port}"


def target_of(url: str, policy: FetchPolicy) -> Target:
    """Return what a URL leads to, after all checks that need no network. Raises RefusedUrl."""
    if len(url) > _MAX_URL_CHARACTERS:
        raise RefusedUrl(f"the URL has more than {_MAX_URL_CHARACTERS} characters")
    if _FORBIDDEN.search(url):
        raise RefusedUrl("the URL has blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise RefusedUrl("only https URLs are fetched")
        if "@" in parts.netloc:
            raise RefusedUrl("the URL holds a user name")
        port = parts.port
        host = _host(parts)
    except ValueError as error:
        raise RefusedUrl("this is not a URL with a host") from error
    target = Target(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], _path(parts))
    if target.scheme == "http" and target.authority not in policy.http_hosts:
        raise RefusedUrl("only https URLs are fetched")
    known = policy.private_hosts | policy.http_hosts
    if target.port not in policy.ports and target.authority not in known:
        raise RefusedUrl(f"port {target.port} is not allowed")
    return target


def _host(parts: SplitResult) -> str:
    """Return the host in lower-case ASCII. Raises ValueError (UnicodeError is one) for what is no host."""
    host = parts.hostname or ""
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode("ascii")
    if not _HOST_NAME.fullmatch(host) or len(host) > 253:
        raise ValueError("not a host name")
    if _NUMBER.fullmatch(host.rstrip(".").rsplit(".", 1)[-1]):
        return str(ipaddress.IPv4Address(host))
    return host


def _path(parts: SplitResult) -> str:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return "".join(c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode()) for c in path)
