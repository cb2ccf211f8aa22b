"""Results as text for a person and as JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from likeness.edits import EditorCapabilities
from likeness.errors import InvalidRequest, LikenessError, ServiceUnavailable, problem
from likeness.results import (
    Comparison,
    Face,
    Faces,
    FaceSwapCapabilities,
    Finished,
    GeneratedPicture,
    Generation,
    GeneratorCapabilities,
    ImageFormat,
    Mode,
    ModelInfo,
    SwapResult,
)


def to_json(value: Any) -> str:
    """Return a result as JSON; pictures' bytes are left out, since they were written to files."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if not isinstance(item, bytes)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


_FORMATS = {
    "": ImageFormat.PNG,
    ".png": ImageFormat.PNG,
    ".jpg": ImageFormat.JPEG,
    ".jpeg": ImageFormat.JPEG,
    ".webp": ImageFormat.WEBP,
}


def format_for(path: Path) -> ImageFormat:
    """Return the file format that a file's name asks for; PNG when it has no ending.

    Raises InvalidRequest when the ending is that of no format that is written.
    """
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        endings = ", ".join(filter(None, _FORMATS))
        raise InvalidRequest(
            f"{path}: no picture is written as {path.suffix}; let the name end with one of {endings}", field="output"
        ) from None


def numbered(path: Path, index: int, count: int) -> Path:
    """Return where picture ``index`` of ``count`` is written."""
    return path if count == 1 else path.with_stem(f"{path.stem}-{index + 1}")


def describe_generation(result: Generation, paths: Sequence[Path]) -> str:
    """Return what was drawn; see `describe_drawing`."""
    return describe_drawing(result.pictures, result.finished, paths)


def describe_drawing(pictures: Sequence[GeneratedPicture], finished: Finished, paths: Sequence[Path]) -> str:
    """Return a line a picture: where it was written, ``paths``, or where it is stored when that is empty."""
    seconds = finished.timings.total_seconds
    places: Sequence[Path | str | None] = paths or [item.picture.artifact_uri for item in pictures]
    lines = [
        f"{place}  {item.picture.width}×{item.picture.height}  seed {item.seed}"
        for place, item in zip(places, pictures, strict=True)
    ]
    loras = "".join(f", {lora.lora_id}:{lora.version}={lora.strength:g}" for lora in finished.loras)
    lines.append(f"{finished.mode}, {finished.steps} steps, {seconds:.1f} s, {finished.model.name}{loras}")
    return "\n".join(lines)


def describe_swap(result: SwapResult, paths: Sequence[Path]) -> str:
    """Return what the swap did, in a few lines; ``paths`` is empty when its picture is stored."""
    place = paths[0] if paths else result.picture.artifact_uri
    lines = [f"{place}  {result.picture.width}×{result.picture.height}  engine {result.engine}"]
    for item in result.swapped:
        after = "no face found" if item.identity_after is None else f"{item.identity_after:.2f}"
        source = f" with reference {item.reference_index}" if len(result.references) > 1 else ""
        lines.append(f"face {item.target_face_index}{source}: identity {item.identity_before:.2f} → {after}")
    lines += [f"face {item.target_face_index} left as it is: {item.detail}" for item in result.skipped]
    restoration = result.restoration
    lines.append(f"restored by {restoration.model}" if restoration.applied else f"not restored: {restoration.reason}")
    lines += [f"note: {warning}" for warning in result.warnings]
    return "\n".join(lines)


def describe_faces(result: Faces, paths: Sequence[Path] = ()) -> str:
    """Return a line a face, and where the drawing was written."""
    lines = [_describe_face(face) for face in result.faces] or ["no face"]
    return "\n".join([*lines, *map(str, paths)])


def describe_comparison(result: Comparison) -> str:
    """Return how alike two faces are, and which faces were compared."""
    lines = [f"identity {result.identity:.2f} (strangers have about 0.05, two photos of one person about 0.5)"]
    lines += [
        f"{name}: {_describe_face(face)}"
        for name, face in (("first", result.first_face), ("second", result.second_face))
    ]
    return "\n".join(lines)


def describe_generator(generator: GeneratorCapabilities) -> str:
    """Return what the generator can do, in a few lines."""
    sizes = ", ".join(f"{size.aspect_ratio} {size.width}×{size.height}" for size in generator.sizes)
    lines = [
        f"generator: {_describe_model(generator.model)}",
        *_describe_modes(generator.modes),
        f"  sizes: {sizes}; multiples of {generator.size_multiple}",
        f"  at most {generator.max_count} pictures a request, {generator.queue_capacity} requests waiting",
        f"  at most {generator.max_loras} LoRAs a request, rank {generator.max_lora_rank}, "
        f"together {generator.max_total_lora_rank}",
    ]
    return "\n".join(lines)


def describe_editor(editor: EditorCapabilities | None) -> str:
    """Return what the editor can do, in a few lines; None is a deployment without one."""
    if editor is None:
        return "editor: none"
    lines = [
        f"editor: {_describe_model(editor.model)}",
        *_describe_modes(editor.modes),
        f"  1 to {editor.max_images} pictures; results of {editor.min_pixels:,} to {editor.max_pixels:,} pixels",
        f"  denoise {editor.default_denoise:g} with one picture, {editor.default_denoise_of_several:g} with several",
        f"  at most {editor.max_count} results a request, {editor.queue_capacity} requests waiting",
        f"  at most {editor.max_loras} LoRAs a request",
    ]
    return "\n".join(lines)


def describe_faceswap(faceswap: FaceSwapCapabilities) -> str:
    """Return what the faceswap service can do, in a few lines."""
    lines = [
        f"faceswap: {_describe_model(faceswap.model)}",
        f"  engines: {', '.join(faceswap.engines)}; restorers: {', '.join(faceswap.restorers) or 'none'}",
        f"  faces from {faceswap.min_reference_face_pixels} pixels (reference) and {faceswap.min_target_face_pixels} "
        "(target) wide",
    ]
    if faceswap.max_reference_turn_degrees:
        lines.append(
            f"  reference turned at most {faceswap.max_reference_turn_degrees:g}° from the camera, "
            f"{faceswap.max_pose_degrees:g}° from the target"
        )
    lines.append(f"  at most {faceswap.queue_capacity} requests waiting")
    return "\n".join(lines)


def _describe_modes(modes: Sequence[Mode]) -> list[str]:
    return [
        f"  mode {mode.name}: {mode.default_steps} steps, guidance {mode.default_true_cfg_scale:g}" for mode in modes
    ]


def _describe_model(model: ModelInfo) -> str:
    facts = [f"profile {model.profile}", model.precision, model.device]
    if model.guidance_device:
        facts.append(f"guidance on {model.guidance_device}")
    if model.offload not in ("", "none"):
        facts.append(f"offload {model.offload}")
    if model.compiled:
        facts.append("compiled")
    return f"{model.name} {model.revision} ({', '.join(facts)})"


def _describe_face(face: Face) -> str:
    box = face.box
    return (
        f"face {face.index}: {box.width:.0f}×{box.height:.0f} at ({box.x:.0f}, {box.y:.0f}), score {face.score:.2f}, "
        f"{face.gender}, about {face.age_years:.0f}, yaw {face.yaw:+.0f}° pitch {face.pitch:+.0f}° "
        f"roll {face.roll:+.0f}°"
    )


def describe_error(error: LikenessError, server: str | None = None) -> str:
    """Return an error as a person reads it; ``server`` is named when it may be the wrong one."""
    text = f"likeness: {error.message} [{error.reason}]"
    if server is not None and isinstance(error, ServiceUnavailable):
        text += f" (at {server})"
    if error.field and not error.message.startswith(error.field):
        text += f" ({error.field})"
    if error.retry_after_seconds:
        text += f"; try again in {error.retry_after_seconds:.0f} s"
    return text


def error_json(error: LikenessError, command: str) -> str:
    """Return an error as the problem document that REST would answer with."""
    return json.dumps(problem(error, command), indent=2, ensure_ascii=False)
