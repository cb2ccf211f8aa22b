"""Requests for edits: pictures, words and choices, resolved against a profile, or refused before any work."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from core.qwen.editing.mask import Mask, read_mask
from core.qwen.editing.pictures import EditPicture, Rgb, laid_under, prepare_picture, resized
from core.qwen.modes import build_schedule
from core.qwen.profile import PIXELS_PER_TOKEN, Editing, Profile, Size, Sizes
from core.qwen.request import GenerationRequest
from likeness.errors import InvalidRequest


@dataclass(frozen=True, kw_only=True, eq=False)
class EditRequest(GenerationRequest):
    """An edit with nothing left open: the same request gives the same pictures. ``size`` is the one it is drawn in."""

    pictures: tuple[EditPicture, ...]
    """What it is made from, "Picture 1" first."""
    output: Size
    """The size of the results."""
    mask: Mask | None
    """Where the first picture may change; None for everywhere."""
    begins_at: float
    """The noise that the work begins with, over 0 to 1: the schedule's level nearest to ``denoise``."""
    taken_steps: int
    """The steps from there on."""

    @property
    def work_steps(self) -> int:
        """How many steps each picture takes."""
        return self.taken_steps

    @property
    def shape(self) -> Hashable:
        """What edits must have in common to be drawn in one batch."""
        seen = tuple(picture.latent for picture in self.pictures)
        return super().shape, seen, self.denoise, self.mask is None

    @property
    def tokens(self) -> int:
        """How many image tokens the transformer works on for one result."""
        return (self.size.pixels + sum(picture.latent.pixels for picture in self.pictures)) // PIXELS_PER_TOKEN

    def present(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Bring what was drawn to the size of the answer, and lay it over the source where there is a mask."""
        changed = resized(pixels, self.output)
        return changed if self.mask is None else self.mask.composite(self.pictures[0].rgb, changed)


def check_picture_count(editing: Editing, count: int) -> None:
    """Refuse no picture, and more than the model takes. Raises InvalidRequest with field ``images`` and the limit."""
    if not 1 <= count <= editing.max_images:
        raise InvalidRequest(
            f"an edit takes 1 to {editing.max_images} pictures, and {count} were given",
            field="images",
            max_images=str(editing.max_images),
        )


def resolve_edit(
    profile: Profile,
    draft: GenerationRequest,
    *,
    scheduler: FlowMatchEulerDiscreteScheduler,
    images: Sequence[Rgb],
    sized: bool = False,
    denoise: float | None = None,
    mask: Rgb | None = None,
) -> EditRequest:
    """Complete a draft by its pictures.

    Args:
        profile: one that edits.
        draft: the request's words and choices; its size counts when ``sized``.
        scheduler: the pipeline's, for the level that the work begins with.
        images: uint8 height×width×3, sRGB, "Picture 1" first.
        sized: whether the request names a size; else the results have the first picture's shape.
        denoise: over 0 to 1; None for the profile's own.
        mask: uint8 height×width×3 of the first picture's size, white where it may change.

    Raises:
        InvalidRequest: a value is out of range, or a picture does not do; the field is named.
    """
    editing = profile.editing
    if editing is None:
        raise ValueError(f"profile {profile.name!r} does not edit")
    check_picture_count(editing, len(images))
    pictures = tuple(
        prepare_picture(editing, rgb, max_aspect_ratio=profile.sizes.max_aspect_ratio, field=f"images[{number}]")
        for number, rgb in enumerate(images)
    )
    first = pictures[0]
    if denoise is None:
        denoise = editing.denoise if len(pictures) == 1 else editing.denoise_of_several
    if not 0 < denoise <= 1:
        raise InvalidRequest(f"denoise is {denoise}: it goes from above 0 to 1", field="denoise")
    if sized and mask is not None:
        raise InvalidRequest(
            "with a mask the result has the first picture's own size: leave width and height out", field="width"
        )
    read = None if mask is None else read_mask(mask, size=first.size, field="mask")
    size = draft.size if sized else first.latent
    schedule = build_schedule(
        scheduler,
        draft.mode,
        steps=draft.steps,
        image_tokens=size.pixels // PIXELS_PER_TOKEN,
        device=torch.device("cpu"),
        denoise=denoise,
    )
    begins_at = schedule.sigmas[0]
    if begins_at < 1:
        pictures = (laid_under(editing, first, size), *pictures[1:])
    given = {field.name: getattr(draft, field.name) for field in dataclasses.fields(GenerationRequest)}
    return EditRequest(
        **{**given, "size": size, "denoise": denoise},
        pictures=pictures,
        output=size if sized else first.size if read else own_size(profile.sizes, first.size),
        mask=read,
        begins_at=begins_at,
        taken_steps=len(schedule.timesteps),
    )


def own_size(sizes: Sizes, size: Size) -> Size:
    """Return a picture's own size, or the nearest one of its shape that the model's limits of an area allow."""
    allowed = min(max(size.pixels, sizes.min_pixels), sizes.max_pixels)
    if allowed == size.pixels:
        return size
    scale = math.sqrt(allowed / size.pixels)
    return Size(width=max(1, round(size.width * scale)), height=max(1, round(size.height * scale)))
