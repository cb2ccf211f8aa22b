"""One request from its Accept header to its answer: what all routes do alike."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from core.runtime.artifacts import ArtifactStore
from core.runtime.fetch import SafeFetcher
from gateway.body import read_body
from gateway.composition import Call
from gateway.connection import Lifecycle, while_connected
from gateway.context import RequestContext
from gateway.deadline import TIMEOUT_HEADER, Deadline, timeout_seconds
from gateway.delivery import Delivery, deliver
from gateway.errors import in_rest_names
from gateway.events import Work
from gateway.images import MAX_IMAGE_BYTES, image_input
from gateway.models import ReferenceBody, SwapFields
from gateway.negotiation import MEDIA_TYPES, Accepted, negotiate
from gateway.reference import ReferenceCheck
from gateway.rewriting import SceneRewriter
from gateway.settings import GatewaySettings
from gateway.swap_translation import SwapPictures, check_swap
from likeness.client import AsyncClient
from likeness.common.v1 import image_pb2
from likeness.errors import LikenessError, NotAcceptable
from likeness.trainer_client import AsyncTrainerClient

Model = TypeVar("Model", bound=BaseModel)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Gateway:
    """What the process keeps for all requests."""

    settings: GatewaySettings
    client: AsyncClient
    fetcher: SafeFetcher
    check_reference: ReferenceCheck
    lifecycle: Lifecycle
    artifacts: ArtifactStore
    """The store of the services, which stored pictures are handed out from."""
    trainer: AsyncTrainerClient
    rewriter: SceneRewriter

    @staticmethod
    def of(request: Request) -> Gateway:
        """Return the gateway that serves a request."""
        gateway: Gateway = request.app.state.gateway
        return gateway


@dataclass(frozen=True)
class Exchange:
    """One request and how it is answered."""

    gateway: Gateway
    request: Request
    context: RequestContext
    accepted: Accepted

    @classmethod
    def begin(cls, request: Request) -> Exchange:
        """Settle how to answer. Raises NotAcceptable."""
        accepted = negotiate(request.headers.get("accept"))
        if accepted is None:
            raise NotAcceptable(f"accept one of {', '.join(MEDIA_TYPES)}", field="accept")
        return cls(Gateway.of(request), request, RequestContext.of(request.scope), accepted)

    async def read(self, model: type[Model]) -> Model:
        """Return the checked body. Raises InvalidRequest, UnsupportedMediaType, PayloadTooLarge, BodyTooSlow."""
        return await read_body(self.request, model, self.gateway.settings.max_body_bytes)

    def call(self, wanted_seconds: float | None) -> Call:
        """Return what the gRPC calls share; the deadline runs from now. Raises InvalidRequest."""
        settings = self.gateway.settings
        seconds = timeout_seconds(
            self.request.headers.get(TIMEOUT_HEADER),
            wanted_seconds,
            settings.default_timeout_seconds,
            settings.max_timeout_seconds,
        )
        return Call(self.gateway.client, self.context.metadata, Deadline.after(seconds))

    async def image(self, value: str | bytes, field: str, deadline: Deadline) -> image_pb2.ImageInput:
        """Return a picture of the body, fetched when it is a URL. Raises the image and the fetch errors."""

        async def fetch(url: str, *, field: str) -> bytes:
            return await self.gateway.fetcher.fetch(
                url,
                field=field,
                max_bytes=MAX_IMAGE_BYTES,
                timeout=self.gateway.settings.fetch_timeout_seconds,
                deadline=deadline.at,
            )

        work = image_input(value, field, fetch)
        return await while_connected(self.request.receive, self.gateway.lifecycle, work)

    async def swap_pictures(self, body: SwapFields, deadline: Deadline) -> SwapPictures:
        """Return the pictures of a swap's body but for its target. Raises InvalidRequest, image and fetch errors."""
        check_swap(body)

        async def read(value: str | bytes | None, field: str) -> image_pb2.ImageInput | None:
            return None if value is None else await self.image(value, field, deadline)

        references = []
        for number, item in enumerate(body.references):
            value, suffix = (item.image, ".image") if isinstance(item, ReferenceBody) else (item, "")
            references.append(await read(value, f"references[{number}]{suffix}"))
        return SwapPictures(
            await read(body.reference_image, "reference_image"),
            tuple(references),
            await read(body.match_image, "match_image"),
        )

    async def ask(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Return the answer of one call, ended when the client goes away. Raises LikenessError in REST's names."""
        try:
            return await while_connected(self.request.receive, self.gateway.lifecycle, work)
        except LikenessError as error:
            raise in_rest_names(error) from error

    async def deliver(self, work: Work) -> Response:
        """Run the work and return its answer. Raises LikenessError."""
        delivery = Delivery(
            request=self.request,
            lifecycle=self.gateway.lifecycle,
            request_id=self.context.metadata.request_id,
            kind=self.accepted.kind,
            started=self.context.started,
        )
        return await deliver(delivery, work)
