"""What the editing routes do: an edit, and a character's scene with its face locked, as streams of events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from gateway.composition import Call, Clock, Swapping, drawing
from gateway.errors import in_rest_names
from gateway.events import Stage, Work
from gateway.reference import ReferenceCheck
from gateway.rewriting import no_scene
from likeness.common.v1 import image_pb2
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.errors import InvalidRequest, LikenessError, NoFace, PromptTooLong, SeveralFaces
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap


async def edit(call: Call, request: editor.EditRequest, names: Mapping[str, str]) -> Work:
    """Edit pictures. Raises LikenessError with the body's fields, which ``names`` gives by the protos'."""
    async with aclosing(drawing(call, partial(call.client.send_edit, request), Clock(), names)) as work:
        async for event in work:
            yield event


async def scene(
    call: Call,
    request: editor.EditRequest,
    names: Mapping[str, str],
    *,
    persons: Sequence[tuple[str, image_pb2.ImageInput]],
    lock: faceswap.SwapRequest | None,
    check_reference: ReferenceCheck,
    include_original: bool,
    rewrite: Callable[[], Awaitable[str]] | None = None,
) -> Work:
    """Put persons into a scene; each of ``persons``, a field and its picture, has to show a face.

    ``lock`` is the swap of the one person's face into each result, without its target; the face is looked at before
    anything is drawn. ``rewrite`` gives the scene that takes the place of the request's. Raises LikenessError with the
    body's fields.
    """
    clock = Clock()
    if lock is None:
        for field, image in persons:
            await _check_person(call, field, image)
    else:
        try:
            await check_reference(call.client, call.metadata, call.deadline, lock)
        except SeveralFaces as error:
            # Which one cannot be said here.
            message = f"the picture shows {error.metadata['faces']} faces and one is to be locked: crop it to one"
            raise SeveralFaces(message, field=persons[0][0], faces=error.metadata["faces"]) from error
        except LikenessError as error:
            raise in_rest_names(error, {"reference_image": persons[0][0]}) from error
    clock.lap(Stage.REFERENCE)
    if rewrite is not None:
        request.scene = await rewrite()
        clock.lap(Stage.REWRITING)
    swapping = None if lock is None else Swapping(lock, "scene", include_original)
    send = partial(call.client.send_edit, request)
    try:
        async with aclosing(drawing(call, send, clock, names, swapping=swapping)) as work:
            async for event in work:
                yield event
    except (InvalidRequest, PromptTooLong) as error:
        # The client's own words were another scene.
        if rewrite is None or error.field != "scene":
            raise
        raise no_scene(error.message) from error


async def _check_person(call: Call, field: str, image: image_pb2.ImageInput) -> None:
    request = faceswap.DetectFacesRequest(image=image)
    try:
        found = await call.client.send_detect_faces(request, call.options())
    except LikenessError as error:
        raise in_rest_names(error, {"image": field}) from error
    if not found.faces:
        raise NoFace("the picture shows no person's face; a scene needs one to keep", field=field)
