"""The few calls of the Kubernetes API that launching needs, over plain HTTP with the pod's own service account."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore2

_TIMEOUT_SECONDS = 10.0
_TIMEOUTS = {name: _TIMEOUT_SECONDS for name in ("connect", "read", "write", "pool")}


class KubernetesError(Exception):
    """The API server refused a call or can't be reached."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Make the error; ``status`` is HTTP's, 0 when there was no answer."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Credentials:
    """The service account of a pod."""

    folder: Path
    """Folder with ``token``, which is rotated, ``ca.crt`` and ``namespace``."""

    def token(self) -> str:
        """Return the token as it is now; empty without one."""
        file = self.folder / "token"
        return file.read_text(encoding="ascii").strip() if file.is_file() else ""

    def namespace(self) -> str:
        """Return the pod's namespace. Raises KubernetesError when there is none."""
        try:
            return (self.folder / "namespace").read_text(encoding="ascii").strip()
        except OSError as error:
            raise KubernetesError("kubernetes_namespace is not set, and this is no pod") from error

    def ssl_context(self) -> ssl.SSLContext:
        """Return what verifies the API server."""
        authority = self.folder / "ca.crt"
        return ssl.create_default_context(cafile=str(authority) if authority.is_file() else None)


class JobsApi:
    """batch/v1 Jobs of one namespace. All methods block."""

    def __init__(self, url: str, namespace: str, credentials: Credentials) -> None:
        """Call the API server at ``url``, for example ``https://10.0.0.1:443``."""
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}".encode()
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._credentials = credentials
        self._pool = httpcore2.ConnectionPool(
            ssl_context=credentials.ssl_context() if parts.scheme == "https" else None, max_connections=2
        )

    def create(self, job: dict[str, Any]) -> bool:
        """Make a Job; return False when one of its name is there. Raises KubernetesError."""
        try:
            self._call("POST", self._path, job)
        except KubernetesError as error:
            if error.status == 409:
                return False
            raise
        return True

    def get(self, name: str) -> dict[str, Any] | None:
        """Return a Job; None when there is none. Raises KubernetesError."""
        try:
            return self._call("GET", f"{self._path}/{name}", None)
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise

    def delete(self, name: str) -> None:
        """Remove a Job with its pods. Raises KubernetesError."""
        try:
            self._call("DELETE", f"{self._path}/{name}", {"propagationPolicy": "Background"})
        except KubernetesError as error:
            if error.status != 404:
                raise

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = [(b"Host", self._origin.partition(b"://")[2]), (b"Accept", b"application/json")]
        if token := self._credentials.token():
            headers.append((b"Authorization", f"Bearer {token}".encode()))
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers += [(b"Content-Type", b"application/json"), (b"Content-Length", str(len(content)).encode())]
        try:
            response = self._pool.request(
                method,
                self._origin + path.encode(),
                headers=headers,
                content=content,
                extensions={"timeout": _TIMEOUTS},
            )
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            raise KubernetesError("the API server cannot be reached") from error
        answer = _document(response.content)
        if response.status >= 300:
            raise KubernetesError(
                f"{method} {path}: {response.status} {answer.get('message', '')}"[:300], response.status
            )
        return answer


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
