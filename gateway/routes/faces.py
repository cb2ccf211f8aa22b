"""The route that swaps a face into a given picture."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import composition, translation
from gateway.exchange import Exchange
from gateway.models import SwapBody
from gateway.openapi import post_documentation

router = APIRouter(tags=["Pictures"])


@router.post("/faceswap", summary="Put a face into a given picture", **post_documentation(SwapBody))
async def faceswap(request: Request) -> Response:
    """The face of the reference is put onto the first face of the target, or onto those that are named."""
    exchange = Exchange.begin(request)
    body = await exchange.read(SwapBody)
    call = exchange.call(body.timeout_seconds)
    picture = translation.output(body, exchange.accepted)
    target = await exchange.image(body.target_image, "target_image", call.deadline)
    reference = await exchange.image(body.reference_image, "reference_image", call.deadline)
    message = translation.swap_request(body, reference=reference, target=target, picture=picture)
    return await exchange.deliver(composition.swap(call, message))
