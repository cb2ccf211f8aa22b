"""The one fetcher of untrusted URLs: it connects to public addresses only, whatever names and redirects say.

A name is resolved once, every address that it has is checked, and the connection goes to a checked address itself: a
name that answers differently the second time (DNS rebinding) gains nothing. TLS still names and verifies the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from urllib.parse import urljoin

import httpcore2

from core.runtime.fetch_policy import DEFAULT_PORTS, FetchPolicy, RefusedUrl, Target, target_of
from core.runtime.pinned_connections import CheckedAddresses, PinnedBackend, Resolver
from likeness.errors import DeadlineExceeded, FetchFailed, FetchRefused, ImageTooLarge

__all__ = ["FetchPolicy", "Resolver", "SafeFetcher"]

_MAX_REDIRECTS = 3
_MAX_CONCURRENT = 32
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


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
        self._addresses = CheckedAddresses(self._policy, resolver)
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or ssl.create_default_context(),
            max_connections=_MAX_CONCURRENT,
            max_keepalive_connections=0,
            network_backend=PinnedBackend(self._addresses),
        )

    async def __aenter__(self) -> SafeFetcher:
        """Return the fetcher."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the fetcher."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        self._addresses.close()
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
            with _told(field, f"the URL did not deliver within {timeout:g} s", "the URL could not be fetched"):
                async with asyncio.timeout(ends - time.monotonic()), self._slots:
                    return await self._follow(url, field, max_bytes)
        except FetchFailed as error:
            if isinstance(error.__cause__, TimeoutError) and deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded("the deadline passed while the URL was fetched", field=field) from error
            raise

    async def check(self, url: str, *, field: str, timeout: float = 10.0) -> None:
        """Return when a URL may be called as things are now; its server is not asked.

        Raises:
            FetchRefused: It may not.
            FetchFailed: Its name has no address, or none was told in time.
        """
        with _told(field, "the URL's name has no address", "the URL's name has no address"):
            target = target_of(url, self._policy)
            async with asyncio.timeout(timeout):
                await self._addresses(target.host, target.port)

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
        own = [*headers.items(), ("Content-Length", str(len(body)))]
        async with self._answer(url, own, body, field, timeout) as response:
            return response.status

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
        async with self._answer(url, own, body, field, timeout) as response:
            return await _read(response, field, max_bytes)

    async def _follow(self, url: str, field: str, max_bytes: int) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            target = target_of(url, self._policy)
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
    async def _answer(
        self, url: str, headers: Iterable[tuple[str, str]], body: bytes, field: str, timeout: float
    ) -> AsyncIterator[httpcore2.Response]:
        """Send a body; the answer's own has to be read within the time too."""
        with _told(field, f"the URL did not answer within {timeout:g} s", "the URL could not be reached"):
            async with (
                asyncio.timeout(timeout),
                self._slots,
                self._request(target_of(url, self._policy), "POST", headers, body) as response,
            ):
                yield response

    @contextlib.asynccontextmanager
    async def _request(
        self, target: Target, method: str, own_headers: Iterable[tuple[str, str]], body: bytes | None = None
    ) -> AsyncIterator[httpcore2.Response]:
        host = f"[{target.host}]" if ":" in target.host else target.host
        authority = host if target.port == DEFAULT_PORTS[target.scheme] else f"{host}:{target.port}"
        headers = [("Host", authority), ("User-Agent", "likeness"), *own_headers]
        location = httpcore2.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        async with self._pool.stream(method, location, headers=headers, content=body) as response:
            yield response


@contextlib.contextmanager
def _told(field: str, late: str, away: str) -> Iterator[None]:
    """Raise what goes wrong within as the errors that a client sees: ``late`` and ``away`` are their texts."""
    try:
        yield
    except TimeoutError as error:
        raise FetchFailed(late, field=field) from error
    except RefusedUrl as error:
        raise FetchRefused(str(error), field=field) from error
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
        raise FetchFailed(away, field=field) from error


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
