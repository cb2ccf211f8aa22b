"""Routes that edit: pictures by an instruction, and persons into a scene."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import edits, translation
from gateway.edit_models import EditBody, SceneBody
from gateway.edit_translation import check_edit, edit_request, names_of, pictures_of
from gateway.exchange import Exchange
from gateway.openapi import post_documentation
from likeness.common.v1 import image_pb2
from likeness.errors import ServiceUnavailable
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap

router = APIRouter(tags=["Pictures"])


@router.post("/qwen-image-edit-2511", summary="Change pictures by an instruction", **post_documentation(EditBody))
async def qwen_image_edit_2511(request: Request) -> Response:
    """Qwen-Image-Edit-2511 changes the picture as the instruction says, or makes one of several.

    With a mask every pixel outside it stays as it is, to the last bit in a PNG.
    """
    exchange = Exchange.begin(request)
    _need_editor(exchange)
    body = await exchange.read(EditBody)
    picture = translation.output(body, exchange.accepted)
    check_edit(body, accepted=exchange.accepted)
    call = exchange.call(body.timeout_seconds)
    images = [await exchange.image(value, field, call.deadline) for field, value in pictures_of(body)]
    mask = None if body.mask is None else await exchange.image(body.mask, "mask", call.deadline)
    message = edit_request(body, accepted=exchange.accepted, picture=picture, images=images, mask=mask)
    return await exchange.deliver(edits.edit(call, message, names_of(body)))


@router.post("/qwen-character-scene", summary="Put a person into a new scene", **post_documentation(SceneBody))
async def qwen_character_scene(request: Request) -> Response:
    """Qwen-Image-Edit-2511 puts the persons of the pictures into the scene, with their faces, hair and clothes.

    Each picture has to show a face, which is looked at before anything is drawn.
    """
    exchange = Exchange.begin(request)
    _need_editor(exchange)
    body = await exchange.read(SceneBody)
    picture = translation.output(body, exchange.accepted)
    check_edit(body, accepted=exchange.accepted)
    call = exchange.call(body.timeout_seconds)
    rewrite = None
    if body.rewrite_scene:
        exchange.gateway.rewriter.check()
        rewrite = partial(exchange.gateway.rewriter.rewrite, body.scene, call.deadline)
    persons = [(field, await exchange.image(value, field, call.deadline)) for field, value in pictures_of(body)]
    # Drawn without loss where a swap follows; only the answer is encoded as the client wants it.
    drawn = picture
    lock = None
    if body.lock_face:
        drawn = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_PNG, store=body.store and body.include_original)
        lock = faceswap.SwapRequest(reference_image=persons[0][1], restore_face=True, output=picture)
    message = edit_request(body, accepted=exchange.accepted, picture=drawn, images=[image for _, image in persons])
    return await exchange.deliver(
        edits.scene(
            call,
            message,
            names_of(body),
            persons=persons,
            lock=lock,
            check_reference=exchange.gateway.check_reference,
            include_original=body.include_original,
            rewrite=rewrite,
        )
    )


def _need_editor(exchange: Exchange) -> None:
    if not exchange.gateway.settings.editor_address:
        raise ServiceUnavailable("this deployment has no editor: its operator names one by the setting editor_address")
