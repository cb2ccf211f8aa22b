"""Routes that draw: from words alone, and from words with the face of a reference."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import composition, translation
from gateway.exchange import Exchange
from gateway.models import DrawBody, FastPortraitBody, PortraitBody
from gateway.openapi import post_documentation
from gateway.swap_translation import swap_template
from likeness.common.v1 import image_pb2

router = APIRouter(tags=["Pictures"])

FULL_MODE = "full"
FAST_MODE = "fast"


@router.post("/qwen-image-2512", summary="Draw pictures from words", **post_documentation(DrawBody))
async def qwen_image_2512(request: Request) -> Response:
    """Qwen-Image-2512 draws one or more pictures from a prompt."""
    exchange = Exchange.begin(request)
    body = await exchange.read(DrawBody)
    picture = translation.output(body, exchange.accepted)
    message = translation.generate_request(body, mode=body.mode, accepted=exchange.accepted, picture=picture)
    return await exchange.deliver(composition.draw(exchange.call(body.timeout_seconds), message))


@router.post("/qwen-faceswap", summary="Draw a person with a given face", **post_documentation(PortraitBody))
async def qwen_faceswap(request: Request) -> Response:
    """Qwen-Image-2512 draws the scene in its full mode; then the face of the reference is put in and restored.

    The reference is looked at before anything is drawn: without exactly one usable face the call fails at once.
    """
    exchange = Exchange.begin(request)
    body = await exchange.read(PortraitBody)
    return await _portrait(exchange, body, body.mode or FULL_MODE)


@router.post(
    "/qwen-image-2512-faceswap",
    summary="Draw a person with a given face (another name of /qwen-faceswap)",
    **post_documentation(PortraitBody),
)
async def qwen_image_2512_faceswap(request: Request) -> Response:
    """The same as /qwen-faceswap."""
    return await qwen_faceswap(request)


@router.post(
    "/qwen-faceswap-fast",
    summary="Draw a person with a given face in four steps",
    **post_documentation(FastPortraitBody),
)
async def qwen_faceswap_fast(request: Request) -> Response:
    """The same as /qwen-faceswap in the fast mode, whose few steps come from a distilled LoRA."""
    exchange = Exchange.begin(request)
    body = await exchange.read(FastPortraitBody)
    return await _portrait(exchange, body, FAST_MODE)


async def _portrait(exchange: Exchange, body: FastPortraitBody, mode: str) -> Response:
    call = exchange.call(body.timeout_seconds)
    picture = translation.output(body, exchange.accepted)
    # Drawn without loss; only the answer is encoded as the client wants it.
    drawn = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_PNG, store=body.store and body.include_original)
    generate = translation.generate_request(body, mode=mode, accepted=exchange.accepted, picture=drawn)
    pictures = await exchange.swap_pictures(body, call.deadline)
    template = swap_template(body, pictures=pictures, picture=picture)
    work = composition.portrait(
        call,
        generate,
        template,
        exchange.gateway.check_reference,
        include_original=body.include_original,
    )
    return await exchange.deliver(work)
