from __future__ import annotations

import itertools

import numpy as np
import pytest

from core.qwen.profile import load_profile
from core.training.buckets import Box, buckets_of, covers, plan_cut
from core.training.settings import Framing

SIZES = load_profile("qwen").sizes
MINIATURE = load_profile("miniature").sizes


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_buckets_have_the_asked_area_and_multiples_that_the_model_takes(side: int) -> None:
    for size in buckets_of(SIZES, side):
        assert size.width % SIZES.multiple == 0 and size.height % SIZES.multiple == 0
        assert size.pixels == pytest.approx(side * side, rel=0.08)


def test_the_miniatures_own_sizes_are_its_buckets() -> None:
    assert set(buckets_of(MINIATURE, 256)) == set(MINIATURE.by_aspect_ratio.values())


PHOTOS = [(1000, 1500), (1500, 1000), (800, 800), (3000, 900), (640, 2000)]
FACES: list[Box] = [(0.4, 0.1, 0.6, 0.3), (0.0, 0.0, 0.2, 0.15), (0.8, 0.7, 1.0, 1.0), (0.2, 0.1, 0.8, 0.8)]


@pytest.mark.parametrize(("photo", "face", "framing"), list(itertools.product(PHOTOS, FACES, Framing)))
def test_a_cut_stays_in_the_photo_holds_the_face_and_has_its_buckets_shape(
    photo: tuple[int, int], face: Box, framing: Framing
) -> None:
    width, height = photo
    pixels = (face[0] * width, face[1] * height, face[2] * width, face[3] * height)
    cut = plan_cut(framing, pixels, photo, buckets_of(SIZES, 512))
    left, top, right, bottom = cut.box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert (right - left) / (bottom - top) == pytest.approx(cut.size.width / cut.size.height, rel=0.02)
    if pixels[2] - pixels[0] <= right - left:
        middle = (pixels[0] + pixels[2]) / 2
        assert left <= middle <= right


def test_a_head_is_nearer_than_a_half_body_and_that_nearer_than_the_whole() -> None:
    face = (450.0, 300.0, 600.0, 450.0)
    head, half, whole = (
        plan_cut(framing, face, (1000, 1500), buckets_of(SIZES, 512))
        for framing in (Framing.HEAD, Framing.HALF_BODY, Framing.WHOLE)
    )
    assert covers(head, whole) < covers(half, whole) < 1
    assert whole.box[3] - whole.box[1] > 1400


def test_what_is_taken_has_the_buckets_size_and_the_cuts_pixels() -> None:
    rgb = np.zeros((600, 400, 3), np.uint8)
    rgb[:300] = 200
    cut = plan_cut(Framing.WHOLE, (150.0, 100.0, 250.0, 200.0), (400, 600), buckets_of(MINIATURE, 256))
    taken = cut.take(rgb)
    assert taken.shape == (cut.size.height, cut.size.width, 3)
    assert taken[0].mean() == 200 and taken[-1].mean() == 0
    assert cut.shares((cut.box[0], cut.box[1], cut.box[2], cut.box[3])) == (0, 0, 1, 1)
