"""A real HTTP server that speaks just enough S3 for the artifact store, and can be told to fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

URL = "s3://likeness"
"""The store's URL, once `point_to` has set the environment."""
_DATE = "2027-01-15T08:00:00.000Z"
_HTTP_DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


@dataclass
class Bucket:
    """What the server holds, and how it answers."""

    endpoint: str
    """Where it listens."""
    files: dict[str, bytes] = field(default_factory=dict)
    status: int | None = None
    """Answers every request with this status; None for a server that works."""
    failing_puts: int = 0
    """How many files can't be put before it works again: those requests are answered 500."""
    refused: int = 0
    """How many requests have failed."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    bucket: Bucket


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket, url = self.server.bucket, urlsplit(self.path)
        with bucket.lock:
            failed = bucket.status
            if self.command == "PUT" and bucket.failing_puts:
                bucket.failing_puts -= 1
                failed = 500
            if failed is not None:
                bucket.refused += 1
                self._answer(failed)
                return
            _, _, key = unquote(url.path).strip("/").partition("/")
            query = parse_qs(url.query, keep_blank_values=True)
            if self.command == "PUT":
                self._put(key, body)
            elif self.command == "POST" and "delete" in query:
                self._delete([name.text or "" for name in ElementTree.fromstring(body).iterfind(".//{*}Key")])
            elif "list-type" in query:
                self._list(query.get("prefix", [""])[0])
            elif key in bucket.files:
                self._answer(200, bucket.files[key])
            else:
                self._answer(404)

    do_GET = do_HEAD = do_PUT = do_POST = _handle

    def _put(self, key: str, body: bytes) -> None:
        files = self.server.bucket.files
        if self.headers.get("If-None-Match") == "*" and key in files:
            self._answer(412)
            return
        files[key] = body
        self._answer(200)

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            self.server.bucket.files.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def _list(self, prefix: str) -> None:
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_DATE}</LastModified><ETag>e</ETag>"
            f"<Size>{len(data)}</Size></Contents>"
            for key, data in sorted(self.server.bucket.files.items())
            if key.startswith(prefix)
        )
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", _HTTP_DATE)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


@contextmanager
def running_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Serve an empty bucket on a free port, and have the environment point to it."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.bucket = Bucket(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        point_to(server.bucket.endpoint, monkeypatch)
        yield server.bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have artifact stores of `URL` that are made from now on, here and in child processes, use an endpoint."""
    values = {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    # Where a proxy is set the driver would ask it for the local server too.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
