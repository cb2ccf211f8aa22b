"""Face models as text for a person."""

from __future__ import annotations

from collections.abc import Sequence

from likeness.face_models import FaceModel, FaceModelBuild, FaceModelPage


def describe_build(build: FaceModelBuild, photos: Sequence[str]) -> str:
    """Return the built model and a line a photo; ``photos`` are their names as they were given."""
    lines = [describe_model(build.face_model)]
    for photo in build.photos:
        name = photos[photo.image_index] if photo.image_index < len(photos) else f"photo {photo.image_index}"
        if photo.rejection is None:
            similarity = "" if photo.similarity is None else f" (cosine {photo.similarity:.2f} to the model)"
            lines.append(f"{name}: used{similarity}")
        else:
            lines.append(f"{name}: rejected, {photo.rejection}: {photo.detail}")
    return "\n".join(lines)


def describe_model(model: FaceModel) -> str:
    """Return a model and a line a view."""
    lines = [describe_line(model)]
    lines += [
        f"  view of photo {view.image_index}: yaw {view.yaw:+.0f}° pitch {view.pitch:+.0f}° roll {view.roll:+.0f}°, "
        f"{view.width_pixels} pixels wide, cosine {view.similarity:.2f}"
        for view in model.views
    ]
    return "\n".join(lines)


def describe_line(model: FaceModel) -> str:
    """Return a model in one line."""
    photos = "1 photo" if model.photo_count == 1 else f"{model.photo_count} photos"
    views = "1 view" if len(model.views) == 1 else f"{len(model.views)} views"
    return (
        f"{model.face_model_id}: {model.average} of {photos}, agreement {model.agreement:.2f}, "
        f"{views}, for {', '.join(model.engines)}, built {model.create_time:%Y-%m-%d %H:%M} UTC"
    )


def describe_page(page: FaceModelPage) -> str:
    """Return a line a model, and how to get the next page."""
    if not page.face_models:
        return "no face model"
    lines = [describe_line(model) for model in page.face_models]
    if page.next_page_token:
        lines.append(f"more with --page-token {page.next_page_token}")
    return "\n".join(lines)
