"""The safe fetcher against servers of every temper, and against every disguise of a private address."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Sequence
from typing import Any

import pytest
import trustme

from core.runtime.addresses import IpAddress
from core.runtime.fetch import FetchPolicy, SafeFetcher
from likeness.errors import DeadlineExceeded, FetchFailed, FetchRefused, ImageTooLarge, LikenessError
from tests.support.site import endless, ok, raw, redirect, silent, site

FIELD = "reference_image"
LOOPBACK = ipaddress.ip_address("127.0.0.1")


def resolver(table: dict[str, Sequence[str]]) -> Any:
    async def resolve(host: str, port: int) -> Sequence[IpAddress]:
        if host not in table:
            raise OSError("no such name")
        return [ipaddress.ip_address(address) for address in table[host]]

    return resolve


async def fetch(url: str, policy: FetchPolicy | None = None, max_bytes: int = 100, **options: Any) -> bytes:
    keywords = {key: options.pop(key) for key in ("resolver", "ssl_context") if key in options}
    async with SafeFetcher(policy, **keywords) as fetcher:
        return await fetcher.fetch(url, field=FIELD, max_bytes=max_bytes, **options)


async def refused(url: str, kind: type[LikenessError] = FetchRefused, **options: Any) -> LikenessError:
    with pytest.raises(kind) as caught:
        await fetch(url, **options)
    assert caught.value.field == FIELD
    return caught.value


async def test_a_picture_is_fetched() -> None:
    async with site({"/a?b=%C3%A9": ok()}) as there:
        assert await fetch(there.url("/a?b=é#fragment"), there.policy()) == b"picture"
        head = there.heads[0].lower()
        assert f"host: {there.authority}\r\n" in head
        assert "accept-encoding: identity" in head
        assert "cookie" not in head


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[fe80::1%25eth0]/",
        "https://0.0.0.0/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://127。0。0。1/",
        "https://①②⑦.0.0.1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "http://allowed@127.0.0.1/",
        "https://allowed@example.com/",
        "https://user:secret@example.com/",
        "https://example.com@/",
        "https://@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com\t/",
        "https://example.com/\r\nHost: inside",
        "https://exa mple.com/",
        " https://example.com/",
        "https://example.com:22/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "http://example.com/",
        "file:///etc/passwd",
        "ftp://example.com/a",
        "gopher://example.com/",
        "data:image/png;base64,AAAA",
        "//example.com/a",
        "example.com/a",
        "https:///a",
        "https://",
        "https://[::1",
        "https://-.com/",
        "https://" + "a" * 300 + ".com/",
        "https://example.com/" + "a" * 2048,
        "",
    ],
)
async def test_a_url_that_may_lead_inside_is_refused_without_a_connection(url: str) -> None:
    public = resolver({"example.com": ["93.184.216.34"], "localhost": ["127.0.0.1"], "localhost.": ["127.0.0.1"]})
    error = await refused(url, resolver=public)
    assert "127.0.0.1" not in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:7f00:1"], ["fd00::1", "2606:2800:220:1::1"]]
)
async def test_a_name_with_any_private_address_is_refused(addresses: list[str]) -> None:
    await refused("https://example.com/", resolver=resolver({"example.com": addresses}))


async def test_a_name_that_changes_its_address_is_resolved_once_and_pinned() -> None:
    asked = 0

    async def rebinding(host: str, port: int) -> Sequence[IpAddress]:
        nonlocal asked
        asked += 1
        return [LOOPBACK if asked == 1 else ipaddress.ip_address("10.255.255.1")]

    async with site({"/a": ok()}) as there:
        policy = FetchPolicy(
            private_hosts=frozenset({f"pictures.test:{there.port}"}),
            http_hosts=frozenset({f"pictures.test:{there.port}"}),
        )
        body = await fetch(f"http://pictures.test:{there.port}/a", policy, resolver=rebinding)
    assert (body, asked) == (b"picture", 1)


async def test_tls_verifies_the_name_though_the_connection_goes_to_an_address() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("pictures.test").configure_cert(server)
    authority.configure_trust(client)
    names: list[str | None] = []
    server.sni_callback = lambda _, name, __: names.append(name)
    hosts = resolver({"pictures.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    async with site({"/a": ok()}, server) as there:
        policy = FetchPolicy(private_hosts=frozenset({f"pictures.test:{there.port}", f"other.test:{there.port}"}))
        url = f"https://pictures.test:{there.port}/a"
        assert await fetch(url, policy, resolver=hosts, ssl_context=client) == b"picture"
        assert names == ["pictures.test"]
        wrong = f"https://other.test:{there.port}/a"
        await refused(wrong, FetchFailed, policy=policy, resolver=hosts, ssl_context=client)
        await refused(url, FetchFailed, policy=policy, resolver=hosts)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(status: int) -> None:
    async with site({"/a": redirect("/b", status), "/b": ok(b"moved")}) as there:
        assert await fetch(there.url(), there.policy()) == b"moved"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "https://169.254.169.254/latest",
        "https://127.0.0.1/",
        "https://[::1]/",
        "//127.0.0.1/",
        "file:///etc/passwd",
        "https://user@example.com/",
        "http://localhost:1/",
    ],
)
async def test_a_redirect_to_the_inside_is_refused(location: str) -> None:
    async with site({"/a": redirect(location)}) as there:
        await refused(there.url(), policy=there.policy())


async def test_endless_redirects_are_given_up() -> None:
    async with site({"/a": redirect("/a")}) as there:
        await refused(there.url(), FetchFailed, policy=there.policy())
        assert there.connections == 4
    async with site({"/a": redirect("")}) as there:
        await refused(there.url(), FetchFailed, policy=there.policy())


async def test_a_body_that_never_ends_is_dropped_at_the_limit() -> None:
    async with site({"/a": endless}) as there:
        await refused(there.url(), ImageTooLarge, policy=there.policy(), max_bytes=200_000)


async def test_a_body_that_declares_too_much_is_not_read() -> None:
    head = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
    async with site({"/a": head}) as there:
        await refused(there.url(), ImageTooLarge, policy=there.policy())


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with site({"/a": ok(b"x" * 100)}) as there:
        assert len(await fetch(there.url(), there.policy(), max_bytes=100)) == 100


async def test_a_silent_server_is_given_up_in_time() -> None:
    async with site({"/a": silent}) as there:
        await refused(there.url(), FetchFailed, policy=there.policy(), timeout=0.1)
        deadline = time.monotonic() + 0.1
        await refused(there.url(), DeadlineExceeded, policy=there.policy(), deadline=deadline)


async def test_a_name_that_does_not_resolve_in_time_is_given_up() -> None:
    async def slow(host: str, port: int) -> Sequence[IpAddress]:
        await asyncio.Event().wait()
        raise AssertionError

    await refused("https://example.com/", FetchFailed, resolver=slow, timeout=0.1)


async def test_a_cancelled_fetch_closes_its_connection_and_frees_its_place() -> None:
    async with site({}) as there, SafeFetcher(there.policy()) as fetcher:

        async def watch(head: str, writer: asyncio.StreamWriter) -> None:
            task.cancel()
            await endless(head, writer)

        there.answers["/a"] = watch
        task = asyncio.create_task(fetcher.fetch(there.url(), field=FIELD, max_bytes=10))
        with pytest.raises(asyncio.CancelledError):
            await task
        there.answers["/a"] = ok()
        assert await fetcher.fetch(there.url(), field=FIELD, max_bytes=10) == b"picture"
        async with asyncio.timeout(10):
            await there.all_closed.wait()


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 404, 500, 503])
async def test_another_status_is_a_failure_that_names_it(status: int) -> None:
    answer = raw(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
    async with site({"/a": answer}) as there:
        error = await refused(there.url(), FetchFailed, policy=there.policy())
        assert error.metadata == {"http_status": str(status)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 99999,
    ],
)
async def test_a_server_that_speaks_no_proper_http_is_a_failure(data: bytes) -> None:
    async with site({"/a": raw(data)}) as there:
        await refused(there.url(), FetchFailed, policy=there.policy())


async def test_a_closed_port_or_an_unknown_name_is_a_failure() -> None:
    async with site({}) as there:
        pass
    await refused(there.url(), FetchFailed, policy=there.policy())
    await refused("https://example.com/", FetchFailed, resolver=resolver({}))
    await refused("https://example.com/", FetchFailed, resolver=resolver({"example.com": []}))


async def test_a_host_with_a_dead_address_is_reached_by_its_next() -> None:
    async with site({"/a": ok()}) as there:
        hosts = resolver({"localhost": ["127.0.0.2", "127.0.0.1"]})
        assert await fetch(there.url(), there.policy(), resolver=hosts) == b"picture"


async def test_many_fetches_run_beside_each_other() -> None:
    async with site({"/a": ok()}) as there, SafeFetcher(there.policy()) as fetcher:
        bodies = await asyncio.gather(*(fetcher.fetch(there.url(), field=FIELD, max_bytes=10) for _ in range(100)))
        assert set(bodies) == {b"picture"}
