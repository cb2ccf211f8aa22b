"""A fake Kubernetes API server: batch/v1 Jobs over the same HTTP interface, with Kueue's part played by the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/apis/batch/v1/namespaces/likeness/jobs"


class FakeCluster:
    """Jobs by name, and every call that was made."""

    def __init__(self) -> None:
        """Begin without Jobs."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, str]] = []
        """Method, path and Authorization of each call."""
        self.url = ""
        self.broken = False
        """Whether every call fails."""

    def admit(self, name: str) -> None:
        """Do as Kueue does: let a Job start."""
        self.jobs[name]["spec"]["suspend"] = False
        self.jobs[name]["status"] = {"active": 1, "ready": 1}

    def end(self, name: str, kind: str, message: str = "") -> None:
        """End a Job with a condition: Complete or Failed."""
        condition = {"type": kind, "status": "True", "message": message}
        self.jobs[name]["status"] = {"conditions": [condition]}

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and document of an answer."""
        if self.broken:
            return 500, {"message": "etcd is away"}
        if method == "POST" and path == PATH:
            name = body["metadata"]["name"]
            if name in self.jobs:
                return 409, {"reason": "AlreadyExists", "message": f'jobs.batch "{name}" already exists'}
            self.jobs[name] = body
            return 201, body
        name = path.removeprefix(PATH + "/")
        if name not in self.jobs:
            return 404, {"reason": "NotFound", "message": f'jobs.batch "{name}" not found'}
        return 200, self.jobs.pop(name) if method == "DELETE" else self.jobs[name]


@contextmanager
def running_cluster() -> Iterator[FakeCluster]:
    """Serve a cluster on a free port."""
    cluster = FakeCluster()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            cluster.calls.append((self.command, self.path, self.headers.get("Authorization", "")))
            status, document = cluster.answer(self.command, self.path, json.loads(body) if body else {})
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
