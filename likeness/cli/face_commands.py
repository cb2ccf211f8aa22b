"""Running the commands of faces: faceswap, faces, identity and face-model."""

from __future__ import annotations

import argparse
from typing import Any

from likeness._face_requests import Reference
from likeness._messages import ImageSource
from likeness.cli import face_output, output
from likeness.cli.writing import check_folder, check_place, show
from likeness.client import AsyncClient
from likeness.errors import InvalidRequest

_SWAP_OPTIONS = (
    "target_face_indexes",
    "all_target_faces",
    "target_order",
    "target_gender",
    "match_image",
    "match_threshold",
    "reference_order",
    "reference_gender",
    "pairing",
    "swap_weight",
    "restore_face",
    "restore_model",
    "restore_visibility",
    "restore_fidelity",
    "engine",
    "pixel_boost",
    "min_score",
    "thorough",
)


async def faceswap(options: argparse.Namespace) -> None:
    """Run ``faceswap``. Raises LikenessError and OSError."""
    check_folder(options)
    persons = whom(options.references, options.face_models, options.reference_face_indexes)
    async with AsyncClient(faceswap_address=options.server) as client:
        result = await client.swap(
            options.target,
            **persons,
            timeout_seconds=options.timeout,
            output_format=options.output_format or output.format_for(options.output),
            quality=options.quality,
            store=options.store,
            **{name: getattr(options, name) for name in _SWAP_OPTIONS},
        )
    files = [] if options.store else [result.picture.save(options.output)]
    show(options, result, output.describe_swap(result, files), files)


def whom(pictures: list[ImageSource], face_models: list[str], face_indexes: list[int]) -> dict[str, Any]:
    """Return the client's arguments for the persons that a command line names. Raises InvalidRequest."""
    if len(pictures) == 1 and not face_models:
        return {"reference_image": pictures[0], "reference_face_indexes": face_indexes}
    if face_indexes and len(face_indexes) != len(pictures):
        raise InvalidRequest(
            f"--reference-face names {len(face_indexes)} faces for {len(pictures)} reference pictures: give one for "
            "each picture",
            field="reference_face_indexes",
        )
    if len(face_models) == 1 and not pictures:
        return {"face_model_id": face_models[0]}
    indexes: list[int | None] = [*face_indexes] or [None] * len(pictures)
    references = [Reference(picture, face_index=index) for picture, index in zip(pictures, indexes, strict=True)]
    return {"references": [*references, *(Reference(face_model_id=name) for name in face_models)]}


async def faces(options: argparse.Namespace) -> None:
    """Run ``faces``. Raises LikenessError and OSError."""
    if options.draw is not None:
        check_place(options.draw)
    async with AsyncClient(faceswap_address=options.server) as client:
        result = await client.detect_faces(
            options.picture,
            timeout_seconds=options.timeout,
            order=options.order,
            min_score=options.min_score,
            thorough=options.thorough,
            drawing=None if options.draw is None else output.format_for(options.draw),
        )
    files = [] if result.drawing is None else [result.drawing.save(options.draw)]
    show(options, result, output.describe_faces(result, files), files)


async def identity(options: argparse.Namespace) -> None:
    """Run ``identity``. Raises LikenessError and OSError."""
    async with AsyncClient(faceswap_address=options.server) as client:
        result = await client.compare_faces(
            options.first,
            options.second,
            timeout_seconds=options.timeout,
            first_face_index=options.first_face_index,
            second_face_index=options.second_face_index,
            order=options.order,
            min_score=options.min_score,
        )
    show(options, result, output.describe_comparison(result))


async def face_model(options: argparse.Namespace) -> None:
    """Run ``face-model`` with its action. Raises LikenessError and OSError."""
    async with AsyncClient(faceswap_address=options.server) as client:
        match options.action:
            case "build":
                build = await client.build_face_model(
                    options.face_model_id,
                    options.photos,
                    average=options.average,
                    replace=options.replace,
                    min_score=options.min_score,
                    timeout_seconds=options.timeout,
                )
                show(options, build, face_output.describe_build(build, options.photos))
            case "list":
                page = await client.list_face_models(
                    page_size=options.page_size, page_token=options.page_token, timeout_seconds=options.timeout
                )
                show(options, page, face_output.describe_page(page))
            case "show":
                model = await client.get_face_model(options.face_model_id, timeout_seconds=options.timeout)
                show(options, model, face_output.describe_model(model))
            case _:
                await client.delete_face_model(options.face_model_id, timeout_seconds=options.timeout)
                print(
                    output.to_json({"deleted": options.face_model_id})
                    if options.json
                    else f"{options.face_model_id} is gone"
                )
