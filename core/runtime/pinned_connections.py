"""Connections to addresses that were checked, never to names."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpcore2

from core.runtime.addresses import IpAddress, is_public
from core.runtime.fetch_policy import FetchPolicy, RefusedUrl

Resolver = Callable[[str, int], Awaitable[Sequence[IpAddress]]]
"""Resolves a host name, for a port, to all its addresses; raises OSError when it has none."""

_MAX_RESOLVING = 8


class CheckedAddresses:
    """Resolves hosts, and lets none through whose addresses the policy forbids."""

    def __init__(self, policy: FetchPolicy, resolver: Resolver | None = None) -> None:
        """Check by ``policy``; ``resolver`` is the system's when left out."""
        self._policy = policy
        # Names get threads of their own: one that hangs must not take those of others in the process.
        self._threads = ThreadPoolExecutor(_MAX_RESOLVING, thread_name_prefix="resolve")
        self._resolver = resolver or self._resolve

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, host: str, port: int) -> Sequence[IpAddress]:
        """Return the addresses of a host, all of them checked. Raises RefusedUrl, and OSError when it has none."""
        try:
            addresses: Sequence[IpAddress] = [ipaddress.ip_address(host)]
        except ValueError:
            addresses = await self._resolver(host, port)
        if not addresses:
            raise OSError("the name has no address")
        # The message names no address: what names inside resolve to is nobody's business.
        if f"{host}:{port}" not in self._policy.private_hosts and not all(map(is_public, addresses)):
            raise RefusedUrl("the URL leads to an address that is not public")
        return addresses

    async def _resolve(self, host: str, port: int) -> Sequence[IpAddress]:
        """Ask the system's resolver."""
        find = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, find)
        return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to names."""

    def __init__(self, addresses: Resolver) -> None:
        """Connect to what ``addresses`` lets through."""
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
        raise RefusedUrl("sockets are not fetched")

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
