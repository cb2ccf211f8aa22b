"""The one fetcher of untrusted URLs: it connects to public addresses only, whatever names and redirects say.

A name is resolved once, every address that it has is checked, and the connection goes to a checked address itself: a
name that answers differently the second time (DNS rebinding) gains nothing. TLS still names and verifies the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore2
import idna

from core.runtime.addresses import IpAddress, is_public
from likeness.errors import DeadlineExceeded, FetchFailed, FetchRefused, ImageTooLarge

Resolver = Callable[[str, int], Awaitable[Sequence[IpAddress]]]
"""Resolves a host name, for a port, to all its addresses; raises OSError when it has none."""

_MAX_URL_CHARACTERS = 2048
_MAX_REDIRECTS = 3
_MAX_CONCURRENT = 32
_MAX_RESOLVING = 8
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"https": 443, "http": 80}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
# What a URL parser of the WHATWG reads as an IPv4 address in disguise: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\.?")


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
class _Target:
    """A URL that passed the checks that need no network."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the policy names them."""
        return f"{self.host}:{self.port}"


class SafeFetcher:
    """Fetches small files from untrusted URLs, and posts to them.

    For one event loop; `aclose` it, or use it as a context manager.
    """

    def __init__(
        self,
        policy: FetchPolicy | None = None,
        *,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Make a fetcher.

        Args:
            policy: What is allowed beyond https to public addresses.
            resolver: Resolves names; the system's resolver when left out.
            ssl_context: Verifies servers; the system's trust when left out.
        """
        self._policy = policy or FetchPolicy()
        # Names get threads of their own: one that hangs must not take those of others in the process.
        self._threads = ThreadPoolExecutor(_MAX_RESOLVING, thread_name_prefix="resolve")
        self._resolver = resolver or self._resolve
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or ssl.create_default_context(),
            max_connections=_MAX_CONCURRENT,
            max_keepalive_connections=0,
            network_backend=_PinnedBackend(self._addresses),
        )

    async def __aenter__(self) -> SafeFetcher:
        """Return the fetcher."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the fetcher."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._pool.aclose()

    async def fetch(
        self, url: str, *, field: str, max_bytes: int, timeout: float = 10.0, deadline: float | None = None
    ) -> bytes:
        """Return the body behind a URL.

        Args:
            url: An https URL.
            field: Path of the request's field, which the errors carry.
            max_bytes: Largest body; a longer one is dropped as soon as that is known.
            timeout: Seconds for everything: names, connections, redirects, body.
            deadline: When the call must have ended, on the clock of `time.monotonic`; None for no limit.

        Raises:
            FetchRefused: The URL, or one that it leads to, may not be fetched.
            FetchFailed: The server did not deliver, or not in time.
            ImageTooLarge: The body is too long.
            DeadlineExceeded: The deadline passed first.
        """
        ends = time.monotonic() + timeout
        if deadline is not None:
            ends = min(ends, deadline)
        try:
            async with asyncio.timeout(ends - time.monotonic()), self._slots:
                return await self._follow(url, field, max_bytes)
        except TimeoutError as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded("the deadline passed while the URL was fetched", field=field) from error
            raise FetchFailed(f"the URL did not deliver within {timeout:g} s", field=field) from error
        except _RefusedError as error:
            raise FetchRefused(str(error), field=field) from error
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            raise FetchFailed("the URL could not be fetched", field=field) from error

    async def check(self, url: str, *, field: str, timeout: float = 10.0) -> None:
        """Return when a URL may be called as things are now; its server is not asked.

        Raises:
            FetchRefused: It may not.
            FetchFailed: Its name has no address, or none was told in time.
        """
        try:
            target = self._check(url)
            async with asyncio.timeout(timeout):
                await self._addresses(target.host, target.port)
        except _RefusedError as error:
            raise FetchRefused(str(error), field=field) from error
        except (TimeoutError, OSError) as error:
            raise FetchFailed("the URL's name has no address", field=field) from error

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str], field: str, timeout: float = 15.0
    ) -> int:
        """Send a body and return the status of the answer, whose own body is not read. Redirects are not followed.

        Args:
            url: An https URL, under the same rules as in `fetch`.
            body: What is sent.
            headers: Headers beside Host, User-Agent and Content-Length.
            field: Path of the request's field, which the errors carry.
            timeout: Seconds for everything: names, connection, answer.

        Raises:
            FetchRefused: The URL may not be called.
            FetchFailed: There was no answer, or not in time.
        """
        try:
            async with asyncio.timeout(timeout), self._slots:
                target = self._check(url)
                own = [*headers.items(), ("Content-Length", str(len(body)))]
                async with self._request(target, "POST", own, body) as response:
                    return response.status
        except TimeoutError as error:
            raise FetchFailed(f"the URL did not answer within {timeout:g} s", field=field) from error
        except _RefusedError as error:
            raise FetchRefused(str(error), field=field) from error
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            raise FetchFailed("the URL could not be reached", field=field) from error

    async def exchange(
        self, url: str, body: bytes, *, headers: Mapping[str, str], field: str, max_bytes: int, timeout: float = 15.0
    ) -> bytes:
        """Send a body and return that of the answer, of status 200. Redirects are not followed.

        Args:
            url: An https URL, under the same rules as in `fetch`.
            body: What is sent.
            headers: Headers beside Host, User-Agent and Content-Length.
            field: Path of the request's field, which the errors carry.
            max_bytes: Largest answer.
            timeout: Seconds for everything: names, connection, answer.

        Raises:
            FetchRefused: The URL may not be called.
            FetchFailed: There was no answer, not in time, or with another status.
            ImageTooLarge: The answer is too long.
        """
        own = [*headers.items(), ("Accept-Encoding", "identity"), ("Content-Length", str(len(body)))]
        try:
            async with (
                asyncio.timeout(timeout),
                self._slots,
                self._request(self._check(url), "POST", own, body) as response,
            ):
                return await _read(response, field, max_bytes)
        except TimeoutError as error:
            raise FetchFailed(f"the URL did not answer within {timeout:g} s", field=field) from error
        except _RefusedError as error:
            raise FetchRefused(str(error), field=field) from error
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            raise FetchFailed("the URL could not be reached", field=field) from error

    async def _follow(self, url: str, field: str, max_bytes: int) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            target = self._check(url)
            # A compressed body could grow beyond max_bytes when it is unpacked: ask for it as it is.
            headers = [("Accept", "image/*"), ("Accept-Encoding", "identity")]
            async with self._request(target, "GET", headers) as response:
                if response.status not in _REDIRECTS:
                    return await _read(response, field, max_bytes)
                location = _header(response, b"location")
            if not location:
                raise FetchFailed("the URL redirects to nowhere", field=field)
            url = urljoin(url, location)
        raise FetchFailed(f"the URL redirects more than {_MAX_REDIRECTS} times", field=field)

    @contextlib.asynccontextmanager
    async def _request(
        self, target: _Target, method: str, own_headers: Iterable[tuple[str, str]], body: bytes | None = None
    ) -> AsyncIterator[httpcore2.Response]:
        host = f"[{target.host}]" if ":" in target.host else target.host
        authority = host if target.port == _DEFAULT_PORTS[target.scheme] else f"{host}:{target.port}"
        headers = [("Host", authority), ("User-Agent", "likeness"), *own_headers]
        location = httpcore2.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        async with self._pool.stream(method, location, headers=headers, content=body) as response:
            yield response

    def _check(self, url: str) -> _Target:
        """Check all that needs no network."""
        if len(url) > _MAX_URL_CHARACTERS:
            raise _RefusedError(f"the URL has more than {_MAX_URL_CHARACTERS} characters")
        if _FORBIDDEN.search(url):
            raise _RefusedError("the URL has blanks, control characters or backslashes")
        try:
            parts = urlsplit(url)
            if parts.scheme not in _DEFAULT_PORTS:
                raise _RefusedError("only https URLs are fetched")
            if "@" in parts.netloc:
                raise _RefusedError("the URL holds a user name")
            port = parts.port
            host = _host(parts)
        except ValueError as error:
            raise _RefusedError("this is not a URL with a host") from error
        target = _Target(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], _path(parts))
        if target.scheme == "http" and target.authority not in self._policy.http_hosts:
            raise _RefusedError("only https URLs are fetched")
        known = self._policy.private_hosts | self._policy.http_hosts
        if target.port not in self._policy.ports and target.authority not in known:
            raise _RefusedError(f"port {target.port} is not allowed")
        return target

    async def _addresses(self, host: str, port: int) -> Sequence[IpAddress]:
        """Return the addresses of a host, all of them checked."""
        try:
            addresses: Sequence[IpAddress] = [ipaddress.ip_address(host)]
        except ValueError:
            addresses = await self._resolver(host, port)
        if not addresses:
            raise OSError("the name has no address")
        # The message names no address: what names inside resolve to is nobody's business.
        if f"{host}:{port}" not in self._policy.private_hosts and not all(map(is_public, addresses)):
            raise _RefusedError("the URL leads to an address that is not public")
        return addresses

    async def _resolve(self, host: str, port: int) -> Sequence[IpAddress]:
        """Ask the system's resolver."""
        find = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, find)
        return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


class _RefusedError(Exception):
    """The policy forbids a URL; becomes FetchRefused with the field."""


class _PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to names."""

    def __init__(self, addresses: Resolver) -> None:
        self._addresses = addresses
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check all addresses, and connect to the first that answers."""
        last: Exception | None = None
        for address in await self._addresses(host, port):
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore2.NetworkError as error:
                last = error
        assert last is not None
        raise last

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no URL leads to a socket file."""
        raise _RefusedError("sockets are not fetched")

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)


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


def _header(response: httpcore2.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


async def _read(response: httpcore2.Response, field: str, max_bytes: int) -> bytes:
    if response.status != 200:
        raise FetchFailed(
            f"the URL's server answered with status {response.status}", field=field, http_status=str(response.status)
        )
    length = _header(response, b"content-length")
    too_large = ImageTooLarge(f"the URL delivers more than {max_bytes:,} bytes", field=field, max_bytes=str(max_bytes))
    if length.isdigit() and int(length) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)
