"""The gateway's settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from core.runtime.settings import ProcessSettings
from likeness.channel import DEFAULT_FACESWAP_ADDRESS, DEFAULT_GENERATOR_ADDRESS, DEFAULT_TRAINER_ADDRESS


class GatewaySettings(ProcessSettings):
    """What the gateway can be told, beside what every process can."""

    service: ClassVar[str] = "gateway"

    port: int = Field(8080, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""
    generator_address: str = Field(DEFAULT_GENERATOR_ADDRESS, min_length=1)
    """Where the generator is: ``host:port``, or a gRPC target such as ``dns:///generator:50051``."""
    faceswap_address: str = Field(DEFAULT_FACESWAP_ADDRESS, min_length=1)
    """Where the faceswap service is."""
    trainer_address: str = Field(DEFAULT_TRAINER_ADDRESS, min_length=1)
    """Where the trainer is; it is only asked when something is trained."""
    editor_address: str = ""
    """Where the editor is; empty where the deployment has none."""
    rewrite_url: str = ""
    """A language model's endpoint of OpenAI's chat completions form, which may rewrite scenes; none when empty."""
    rewrite_model: str = ""
    """The model that the endpoint is asked for."""
    rewrite_api_key: SecretStr = SecretStr("")
    """Sent to the endpoint as a bearer token; none when empty."""
    rewrite_timeout_seconds: float = Field(20.0, gt=0, le=600)
    """How long the endpoint may take."""
    max_body_bytes: int = Field(60 * 2**20, ge=2**10, le=2**30)
    """Largest body of a request: two pictures of 20 MiB in base64, and a little more."""
    body_timeout_seconds: float = Field(30.0, gt=0, le=3600)
    """How long a body may take to arrive."""
    fetch_timeout_seconds: float = Field(10.0, gt=0, le=3600)
    """How long a picture's URL may take to deliver."""
    fetch_private_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, that may have private addresses: the operator's own picture servers."""
    fetch_http_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, that pictures may be fetched from without TLS."""
    default_timeout_seconds: float = Field(300.0, gt=0, le=86_400)
    """Deadline of a request that names none."""
    max_timeout_seconds: float = Field(900.0, gt=0, le=86_400)
    """Longest deadline that a request may name."""
