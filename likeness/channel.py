"""gRPC channels as every client of Likeness opens them: message limits, keepalive, balancing, retries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import grpc.aio

DEFAULT_GENERATOR_ADDRESS = "127.0.0.1:50051"
DEFAULT_FACESWAP_ADDRESS = "127.0.0.1:50052"
DEFAULT_EDITOR_ADDRESS = "127.0.0.1:50053"
DEFAULT_TRAINER_ADDRESS = "127.0.0.1:50054"


@dataclass(frozen=True)
class ChannelOptions:
    """How a channel behaves. The defaults fit the servers' own settings."""

    max_message_bytes: int = 64 * 1024 * 1024
    """Largest message in either direction."""
    keepalive_seconds: float = 30.0
    """Time between two pings while calls are open; the servers allow no shorter one."""
    keepalive_timeout_seconds: float = 10.0
    """A peer that does not answer a ping for this long is taken as gone."""
    attempts: int = 3
    """Most attempts of one call, the first one counted, 1–5. Only UNAVAILABLE is tried again."""
    initial_backoff_seconds: float = 0.1
    """Wait before the second attempt; it doubles with each further one."""
    max_backoff_seconds: float = 1.0
    """Longest wait between two attempts, and between two tries to connect."""
    retry_buffer_bytes: int = 24 * 1024 * 1024
    """Requests up to this size are kept for a further attempt."""
    credentials: grpc.ChannelCredentials | None = None
    """TLS; plaintext when left out."""

    def service_config(self) -> dict[str, Any]:
        """Return the gRPC service config: round robin over all addresses, retries on UNAVAILABLE alone."""
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        if self.attempts > 1:
            retry = {
                "maxAttempts": self.attempts,
                "initialBackoff": f"{self.initial_backoff_seconds}s",
                "maxBackoff": f"{self.max_backoff_seconds}s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
            config["methodConfig"] = [{"name": [{}], "retryPolicy": retry}]
        return config

    def arguments(self) -> list[tuple[str, int | str]]:
        """Return the channel arguments as gRPC core takes them."""
        return [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.keepalive_time_ms", round(self.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.keepalive_timeout_seconds * 1000)),
            ("grpc.keepalive_permit_without_calls", 0),
            ("grpc.initial_reconnect_backoff_ms", round(self.initial_backoff_seconds * 1000)),
            ("grpc.min_reconnect_backoff_ms", round(self.initial_backoff_seconds * 1000)),
            ("grpc.max_reconnect_backoff_ms", round(self.max_backoff_seconds * 1000)),
            ("grpc.per_rpc_retry_buffer_size", self.retry_buffer_bytes),
            ("grpc.enable_retries", int(self.attempts > 1)),
            ("grpc.service_config", json.dumps(self.service_config())),
        ]


def target_of(address: str) -> str:
    """Return the gRPC target of ``host:port``, so that every address of the name is known to the balancer.

    A target that names its own scheme (``dns:///…``, ``unix:…``) stays as it is. Raises ValueError when empty.
    """
    if not address:
        raise ValueError("the server's address is empty; give host:port")
    schemes = ("dns:", "unix:", "ipv4:", "ipv6:", "xds:", "passthrough:")
    return address if address.startswith(schemes) else f"dns:///{address}"


def open_channel(address: str, options: ChannelOptions | None = None) -> grpc.aio.Channel:
    """Open a channel to ``address``. It connects with the first call, inside a running event loop."""
    options = options or ChannelOptions()
    arguments = options.arguments()
    if options.credentials is None:
        return grpc.aio.insecure_channel(target_of(address), options=arguments)
    return grpc.aio.secure_channel(target_of(address), options.credentials, options=arguments)
