"""Finished work as REST shows it: JSON documents and headers."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
from starlette.responses import Response

from gateway.artifacts import artifact_path
from gateway.events import PictureReady, Progress, WorkFinished
from likeness.face_models import FaceModel, FaceModelBuild
from likeness.results import Comparison, Face, Faces, Picture, Preview, Queued, Started, Step, SwapResult


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer in JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(document), status_code=status, media_type="application/json", headers=headers)


def picture_document(picture: Picture) -> dict[str, Any]:
    """Return a picture: its base64 ``data`` or its ``artifact_uri`` and ``url``, with media type, size and SHA-256."""
    document: dict[str, Any] = {
        "media_type": picture.media_type,
        "width": picture.width,
        "height": picture.height,
        "sha256": picture.sha256,
    }
    if picture.artifact_uri is not None:
        document["artifact_uri"] = picture.artifact_uri
        path = artifact_path(picture.artifact_uri)
        if path is not None:
            document["url"] = path
    else:
        document["data"] = binascii.b2a_base64(picture.data or b"", newline=False).decode("ascii")
    return document


def face_document(face: Face) -> dict[str, Any]:
    """Return a face: box in pixels, score, pose in degrees, gender and age as estimated."""
    return {
        "index": face.index,
        "box": {name: round(value, 2) for name, value in asdict(face.box).items()},
        "score": round(face.score, 4),
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in face.landmarks],
        "pose": {"yaw": round(face.yaw, 2), "pitch": round(face.pitch, 2), "roll": round(face.roll, 2)},
        "gender": face.gender.value,
        "gender_score": round(face.gender_score, 4),
        "age_years": round(face.age_years, 1),
        "sharpness": round(face.sharpness, 2),
    }


def faces_document(found: Faces) -> dict[str, Any]:
    """Return the faces of a picture, and the picture with them drawn on it when it was asked for."""
    document: dict[str, Any] = {
        "faces": [face_document(face) for face in found.faces],
        "width": found.width,
        "height": found.height,
    }
    if found.drawing is not None:
        document["drawing"] = picture_document(found.drawing)
    return document


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return how alike two faces are."""
    return {
        "identity": round(comparison.identity, 4),
        "first_face": face_document(comparison.first_face),
        "second_face": face_document(comparison.second_face),
    }


def swap_document(swap: SwapResult) -> dict[str, Any]:
    """Return what a swap did."""
    return {
        "engine": swap.engine,
        "restoration": asdict(swap.restoration),
        "swapped": [
            {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(item).items()}
            for item in swap.swapped
        ],
        "target_faces": [face_document(face) for face in swap.target_faces],
        "reference_face": face_document(swap.reference_face),
        "references": [
            {"face": face_document(item.face), "face_model_id": item.face_model_id or None} for item in swap.references
        ],
        "skipped": [
            {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(item).items()}
            for item in swap.skipped
        ],
        "warnings": list(swap.warnings),
        "timings": {f"{stage}_seconds": round(seconds, 4) for stage, seconds in swap.timings.items()},
    }


def face_model_document(model: FaceModel) -> dict[str, Any]:
    """Return a face model: how it was built and what it keeps."""
    return {
        "face_model_id": model.face_model_id,
        "create_time": model.create_time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "average": model.average.value,
        "photo_count": model.photo_count,
        "agreement": round(model.agreement, 4),
        "views": [
            {
                "image_index": view.image_index,
                "pose": {"yaw": round(view.yaw, 2), "pitch": round(view.pitch, 2), "roll": round(view.roll, 2)},
                "width_pixels": view.width_pixels,
                "sharpness": round(view.sharpness, 2),
                "similarity": round(view.similarity, 4),
            }
            for view in model.views
        ],
        "engines": list(model.engines),
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
    }


def face_model_build_document(build: FaceModelBuild) -> dict[str, Any]:
    """Return a built face model and what became of each photo."""
    return {
        "face_model": face_model_document(build.face_model),
        "photos": [
            {
                "image_index": photo.image_index,
                "used": photo.used,
                "rejection": None if photo.rejection is None else photo.rejection.value,
                "detail": photo.detail,
                "face": None if photo.face is None else face_document(photo.face),
                "similarity": None if photo.similarity is None else round(photo.similarity, 4),
            }
            for photo in build.photos
        ],
    }


def image_document(ready: PictureReady) -> dict[str, Any]:
    """Return one picture of an answer, with its seed, what the swap did, and its identity before and after."""
    document: dict[str, Any] = {"index": ready.index}
    if ready.seed is not None:
        document["seed"] = ready.seed
    document |= picture_document(ready.picture)
    if ready.original is not None:
        document["original"] = picture_document(ready.original)
    if ready.swap is not None:
        first = ready.swap.swapped[0] if ready.swap.swapped else None
        document["identity"] = {
            "before": None if first is None else round(first.identity_before, 4),
            "after": None if first is None or first.identity_after is None else round(first.identity_after, 4),
        }
        document["swap"] = swap_document(ready.swap)
    return document


def finished_document(finished: WorkFinished, request_id: str, total_seconds: float) -> dict[str, Any]:
    """Return how the pictures were made and where the time went."""
    document: dict[str, Any] = {"request_id": request_id}
    timings = {f"{stage.value}_stage_seconds": round(value, 4) for stage, value in finished.stage_seconds.items()}
    if finished.drawing is not None:
        drawing = asdict(finished.drawing)
        timings |= {name: round(value, 4) for name, value in drawing.pop("timings").items() if name != "total_seconds"}
        document |= drawing
    document["timings"] = {**timings, "total_seconds": round(total_seconds, 4)}
    return document


def answer_document(
    pictures: Sequence[PictureReady], finished: WorkFinished, request_id: str, total_seconds: float
) -> dict[str, Any]:
    """Return a whole answer."""
    ordered = sorted(pictures, key=lambda ready: ready.index)
    return {
        "images": [image_document(ready) for ready in ordered],
        **finished_document(finished, request_id, total_seconds),
    }


def picture_headers(ready: PictureReady, finished: WorkFinished, total_seconds: float) -> dict[str, str]:
    """Return what goes along with a picture that is the answer itself, as X-Likeness-* headers."""
    headers = {"X-Likeness-Sha256": ready.picture.sha256, "X-Likeness-Total-Seconds": f"{total_seconds:.4f}"}
    if ready.seed is not None:
        headers["X-Likeness-Seed"] = str(ready.seed)
    if finished.drawing is not None:
        headers["X-Likeness-Mode"] = finished.drawing.mode
        headers["X-Likeness-Steps"] = str(finished.drawing.steps)
        headers["X-Likeness-Model"] = f"{finished.drawing.model.name}@{finished.drawing.model.revision}"
    if ready.swap is not None:
        headers["X-Likeness-Engine"] = ready.swap.engine
        restoration = ready.swap.restoration
        headers["X-Likeness-Restoration"] = restoration.model or "applied" if restoration.applied else "not-applied"
        if not restoration.applied and restoration.reason:
            headers["X-Likeness-Restoration-Reason"] = restoration.reason
        for item in ready.swap.swapped[:1]:
            headers["X-Likeness-Identity-Before"] = f"{item.identity_before:.4f}"
            if item.identity_after is not None:
                headers["X-Likeness-Identity-After"] = f"{item.identity_after:.4f}"
    return {name: _header_text(value) for name, value in headers.items()}


def _header_text(value: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in value)[:500]


def progress_document(progress: Progress) -> tuple[str, dict[str, Any]]:
    """Return the name and the data of a progress event."""
    stage = {"stage": progress.stage.value}
    match progress.event:
        case Queued(position):
            return "queued", {**stage, "position": position}
        case Started(queued_seconds):
            return "started", {**stage, "queued_seconds": round(queued_seconds, 4)}
        case Step(image_index, step, total_steps):
            return "step", {**stage, "image_index": image_index, "step": step, "total_steps": total_steps}
        case Preview(image_index, step, total_steps, picture):
            place = {"image_index": image_index, "step": step, "total_steps": total_steps}
            return "preview", {**stage, **place, **picture_document(picture)}
