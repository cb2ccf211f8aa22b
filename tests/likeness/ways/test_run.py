from __future__ import annotations

from dataclasses import replace

import pytest

from likeness.client import AsyncClient
from likeness.errors import FaceTooSmall, InvalidRequest, NoFace, QueueFull, ServiceUnavailable
from likeness.results import LoraUse
from likeness.ways.plan import WaysPlan
from likeness.ways.result import Way
from likeness.ways.run import Position, compare_ways
from tests.likeness.ways.conftest import DRAWN_WITH_LORA, PHOTO, REFERENCE, SCENES, SIZE, Services
from tests.support.services import unused_address

PLAN = WaysPlan(
    reference=REFERENCE,
    person="a woman",
    scenes=tuple(SCENES),
    seeds=(1, 2),
    lora=LoraUse("anna", 3),
    lora_person="annax woman",
    lora_seconds=60.0,
)


async def test_every_way_makes_the_same_scenes_and_seeds(client: AsyncClient, services: Services) -> None:
    result = await compare_ways(client, replace(PLAN, mode="fast"))
    places = [(scene, seed) for scene in SCENES for seed in (1, 2)]
    for way in (result.plain, *result.ways):
        assert [(made.scene, made.seed) for made in way.pictures] == places
        assert way.made == 4
    assert [way.name for way in result.ways] == ["swap", "edit", "lora"]
    plain, with_lora = services.generator.requests[:4], services.generator.requests[4:]
    assert [(r.prompt, r.seed) for r in plain] == [(f"a woman {scene}", seed) for scene, seed in places]
    assert [(r.prompt, r.seed) for r in with_lora] == [(f"annax woman {scene}", seed) for scene, seed in places]
    assert {(lora.lora_id, lora.version) for r in with_lora for lora in r.loras} == {("anna", 3)}
    assert {r.mode for r in services.generator.requests} | {r.mode for r in services.editor.requests} == {"fast"}
    assert [(r.scene, r.seed) for r in services.editor.requests] == places
    assert {r.images[0].data for r in services.editor.requests} == {REFERENCE}
    assert {(r.width, r.height) for r in services.editor.requests} == {SIZE}


async def test_swaps_go_into_the_plain_drawings(client: AsyncClient, services: Services) -> None:
    result = await compare_ways(client, PLAN)
    drawings = [made.picture.data for made in result.plain.pictures if made.picture is not None]
    assert [swap.target_image.data for swap in services.faceswap.swaps] == drawings
    assert {swap.reference_image.data for swap in services.faceswap.swaps} == {REFERENCE}
    # What a swap takes includes the drawing of what it goes into.
    for plain, swap in zip(result.plain.pictures, result.ways[0].pictures, strict=True):
        assert plain.seconds is not None and swap.seconds is not None
        assert swap.seconds > plain.seconds


async def test_identity_is_measured_by_the_face_service(client: AsyncClient) -> None:
    result = await compare_ways(client, replace(PLAN, photos=(PHOTO,)))
    found = {way.name: way.identity for way in (result.plain, *result.ways)}
    assert found == pytest.approx({"plain": 0.1, "swap": 0.6, "edit": 0.4, "lora": 0.5})
    assert [way.identity_to_photos for way in result.ways] == pytest.approx([0.5, 0.3, 0.4])
    assert result.photos_identity == pytest.approx(0.1)
    assert [way.set_up_seconds for way in result.ways] == [0, 0, 60]


async def test_pictures_without_a_face_count_as_nobody(client: AsyncClient, services: Services) -> None:
    services.faceswap.faceless = DRAWN_WITH_LORA
    (lora,) = (await compare_ways(client, replace(PLAN, ways=(Way.LORA,), photos=(PHOTO,)))).ways
    assert (lora.identity, lora.identity_to_photos, lora.one_face) == (0, 0, 0)


async def test_a_scene_is_kept_where_the_picture_is_like_the_plain_drawing(client: AsyncClient) -> None:
    result = await compare_ways(client, PLAN)
    assert result.plain.scene_kept == 1
    # The edits are green all over: in the garden they are right, at sea they are not.
    at_sea, in_garden = result.ways[1].pictures[0].scene_kept, result.ways[1].pictures[2].scene_kept
    assert at_sea is not None and in_garden is not None
    assert at_sea < 0.5 < in_garden
    one = await compare_ways(client, replace(PLAN, scenes=("at sea",)))
    assert one.ways[0].scene_kept is None


async def test_a_way_whose_service_is_away_is_named_and_the_others_go_on(services: Services) -> None:
    generator, faceswap, _ = services.addresses
    async with AsyncClient(generator, faceswap, unused_address()) as client:
        result = await compare_ways(client, PLAN)
    assert [way.made for way in result.ways] == [4, 0, 4]
    error = result.ways[1].error
    assert error is not None
    assert (error.reason, "editor" in error.message) == ("SERVICE_UNAVAILABLE", True)


async def test_without_a_generator_the_editor_still_goes(services: Services) -> None:
    _, faceswap, editor = services.addresses
    async with AsyncClient(unused_address(), faceswap, editor) as client:
        result = await compare_ways(client, PLAN)
    assert [way.made for way in result.ways] == [0, 4, 0]
    assert result.ways[0].error is not None and "generator" in result.ways[0].error.message
    assert result.ways[1].identity == pytest.approx(0.4)


async def test_a_picture_that_fails_does_not_end_its_way(client: AsyncClient, services: Services) -> None:
    services.faceswap.swap_error = FaceTooSmall("too small", field="target_image")
    result = await compare_ways(client, PLAN)
    assert (result.ways[0].made, len(services.faceswap.swaps)) == (0, 4)
    assert {made.error.reason for made in result.ways[0].pictures if made.error} == {"FACE_TOO_SMALL"}


async def test_without_a_lora_that_way_is_unavailable(client: AsyncClient, services: Services) -> None:
    result = await compare_ways(client, replace(PLAN, lora=None))
    assert [way.made for way in result.ways] == [4, 4, 0]
    assert result.ways[2].error is not None and "no LoRA" in result.ways[2].error.message
    assert not any(request.loras for request in services.generator.requests)


async def test_when_no_way_makes_anything_its_error_is_raised(client: AsyncClient, services: Services) -> None:
    services.generator.error = QueueFull("full")
    with pytest.raises(QueueFull):
        await compare_ways(client, replace(PLAN, ways=(Way.SWAP, Way.LORA)))


async def test_a_reference_without_a_face_is_refused_before_anything_is_drawn(
    client: AsyncClient, services: Services
) -> None:
    services.faceswap.faces = []
    with pytest.raises(NoFace) as caught:
        await compare_ways(client, PLAN)
    assert caught.value.field == "reference"
    assert not services.generator.requests


async def test_without_the_face_service_nothing_is_drawn(services: Services) -> None:
    generator, _, editor = services.addresses
    async with AsyncClient(generator, unused_address(), editor) as client:
        with pytest.raises(ServiceUnavailable, match="faceswap"):
            await compare_ways(client, PLAN)
    assert not services.generator.requests


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ways": ()}, "ways"),
        ({"scenes": ()}, "scenes"),
        ({"scenes": ("at sea", "at sea")}, "scenes"),
        ({"scenes": (" ",)}, "scenes"),
        ({"seeds": tuple(range(9))}, "seeds"),
        ({"seeds": (2**32,)}, "seeds"),
        ({"seeds": (-1,)}, "seeds"),
        ({"person": ""}, "person"),
        ({"photos": (b"",) * 21}, "photos"),
    ],
)
async def test_a_plan_that_makes_no_sense_is_refused(
    client: AsyncClient, services: Services, change: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await compare_ways(client, replace(PLAN, **change))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert not services.faceswap.detections


async def test_progress_counts_all_pictures(client: AsyncClient) -> None:
    told: list[Position] = []
    await compare_ways(client, PLAN, told.append)
    assert [at.done for at in told] == list(range(16))
    assert {at.total for at in told} == {16}
    assert list(dict.fromkeys(at.way for at in told)) == ["plain", "swap", "edit", "lora"]


async def test_photos_that_cannot_be_used_are_left_out_with_a_note(client: AsyncClient, services: Services) -> None:
    services.faceswap.unusable = PHOTO
    result = await compare_ways(client, replace(PLAN, photos=(PHOTO,)))
    assert result.warnings == ("photo 1 is left out: no face",)
    assert result.ways[0].identity_to_photos is None


async def test_several_faces_in_the_reference_are_told(client: AsyncClient, services: Services) -> None:
    services.faceswap.faces = services.faceswap.faces * 2
    result = await compare_ways(client, PLAN)
    assert "2 faces" in result.warnings[0]
    assert result.ways[0].one_face == 0
