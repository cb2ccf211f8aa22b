"""The bodies of edits into messages of the contract, checked by the contract's own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.edit_models import EditBody, EditFields, SceneBody
from gateway.models import ImageValue
from gateway.negotiation import Accepted, AnswerKind
from gateway.translation import check, fill
from likeness._drawing_requests import PRIORITIES
from likeness.common.v1 import image_pb2
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.errors import InvalidRequest

_PLAIN = (
    "denoise",
    "mode",
    "negative_prompt",
    "width",
    "height",
    "seed",
    "steps",
    "true_cfg_scale",
    "trigger_word",
    "preview_every",
)


def pictures_of(body: EditBody | SceneBody) -> list[tuple[str, ImageValue]]:
    """Return the pictures of a body in their order, each with its field."""
    first = body.source_image if isinstance(body, EditBody) else body.character_image
    own = "source_image" if isinstance(body, EditBody) else "character_image"
    return [
        *([(own, first)] if first is not None else []),
        *((f"images[{number}]", image) for number, image in enumerate(body.images)),
    ]


def names_of(body: EditBody | SceneBody) -> Mapping[str, str]:
    """Return the body's own names of the contract's fields: the first of its pictures may have a field of its own."""
    fields = [field for field, _ in pictures_of(body)]
    names = {f"images[{number}]": field for number, field in enumerate(fields)}
    return {**names, "images": fields[0].partition("[")[0] if len(fields) == 1 else "images"}


def edit_request(
    body: EditBody | SceneBody,
    *,
    accepted: Accepted,
    picture: image_pb2.ImageOutput,
    images: Sequence[image_pb2.ImageInput],
    mask: image_pb2.ImageInput | None = None,
) -> editor.EditRequest:
    """Return the checked message. Raises InvalidRequest."""
    if accepted.kind is AnswerKind.IMAGE and (body.n or 1) != 1:
        raise InvalidRequest("an answer that is the picture itself holds one; accept JSON for more", field="n")
    if body.preview_every and accepted.kind is not AnswerKind.EVENTS:
        raise InvalidRequest(
            "previews come as events; accept text/event-stream, or leave it out", field="preview_every"
        )
    names = names_of(body)
    message = editor.EditRequest(output=picture, priority=PRIORITIES[body.priority], images=images, mask=mask)
    words = {"instruction": body.instruction} if isinstance(body, EditBody) else {"scene": body.scene}
    fill(message, {**words, "count": body.n, **{name: getattr(body, name) for name in _PLAIN}}, names)
    _add_loras(message, body)
    check(message, names)
    return message


def check_edit(body: EditBody | SceneBody, *, accepted: Accepted) -> None:
    """Check a body before any of its pictures is read or fetched. Raises InvalidRequest."""
    stand_in = image_pb2.ImageInput(data=b"?")
    words = body.instruction if isinstance(body, EditBody) else body.scene
    if not words.strip():
        field = "instruction" if isinstance(body, EditBody) else "scene"
        raise InvalidRequest(f"{field} is blank: say what the result shall show", field=field)
    if not pictures_of(body):
        field = "source_image" if isinstance(body, EditBody) else "character_image"
        raise InvalidRequest("send 1 to 4 pictures", field=field, max_images="4")
    if isinstance(body, SceneBody) and body.lock_face and len(pictures_of(body)) > 1:
        raise InvalidRequest("lock_face goes with one picture: leave it out, or send one", field="lock_face")
    if isinstance(body, SceneBody) and body.include_original and not body.lock_face:
        raise InvalidRequest(
            "include_original goes with lock_face: nothing is swapped without it", field="include_original"
        )
    edit_request(
        body,
        accepted=accepted,
        picture=image_pb2.ImageOutput(),
        images=[stand_in] * len(pictures_of(body)),
        mask=stand_in if isinstance(body, EditBody) and body.mask is not None else None,
    )


def _add_loras(message: editor.EditRequest, body: EditFields) -> None:
    for index, lora in enumerate(body.loras[:100]):
        values = {"lora_id": lora.lora_id, "version": lora.version, "strength": lora.strength}
        fill(message.loras.add(), values, prefix=f"loras[{index}].")
