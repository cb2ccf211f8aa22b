"""The route that swaps a face into a given picture."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import composition, translation
from gateway.exchange import Exchange
from gateway.models import SwapBody
from gateway.openapi import post_documentation
from gateway.swap_translation import swap_request

router = APIRouter(tags=["Pictures"])


@router.post("/faceswap", summary="Put a face into a given picture", **post_documentation(SwapBody))
async def faceswap(request: Request) -> Response:
    """The faces of one or more references, or of a face model, are put onto the faces of the target.

    Without indexes the first faces in the order are changed, as many as there are references.
    """
    exchange = Exchange.begin(request)
    body = await exchange.read(SwapBody)
    call = exchange.call(body.timeout_seconds)
    picture = translation.output(body, exchange.accepted)
    pictures = await exchange.swap_pictures(body, call.deadline)
    target = await exchange.image(body.target_image, "target_image", call.deadline)
    message = swap_request(body, pictures=pictures, target=target, picture=picture)
    return await exchange.deliver(composition.swap(call, message))
