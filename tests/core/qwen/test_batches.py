"""Pictures of several requests, or several of one, that are denoised together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from core.qwen import denoising
from core.qwen.loading import QwenImageModel
from core.qwen.loras.adapter import Adapter
from core.qwen.loras.registry import LoraRecord
from core.qwen.loras.requested import RequestedLora
from core.qwen.request import resolve_request
from core.qwen.sampling import DrawingPart, GenerationTimings, ImageFinished, StepFinished, draw
from core.qwen.text import TextEmbedding, encode_prompt, stack_texts
from core.runtime.cancellation import CancelToken
from core.runtime.work import Part
from likeness.errors import Cancelled, LikenessError, NonFiniteResult

SHORT = "a man"
LONG = "a professional woman with long brown hair, green eyes and a blue shirt in a modern office, portrait"
# Measured on the miniature: one level of 255 in fewer than one value of 10,000. Sums are rounded otherwise in a batch.
TOLERANCE = 2


@dataclass
class Drawing:
    """A request, and what became of it."""

    part: DrawingPart
    token: CancelToken
    events: list[object]
    outcome: list[GenerationTimings | LikenessError]

    @property
    def pixels(self) -> list[npt.NDArray[np.uint8]]:
        return [event.pixels for event in self.events if isinstance(event, ImageFinished)]

    @property
    def steps(self) -> list[tuple[int, int]]:
        return [(event.image_index, event.step) for event in self.events if isinstance(event, StepFinished)]


def make(model: QwenImageModel, prompt: str, **changes: Any) -> Drawing:
    settings = {"seed": 7, "width": 192, "height": 160, **changes}
    if settings.get("mode") != "fast":
        settings.setdefault("steps", 3)
    token, events = CancelToken(), list[object]()
    outcome: list[GenerationTimings | LikenessError] = []
    request = resolve_request(model.profile, prompt=prompt, **settings)
    return Drawing(Part(request, token, events.append, outcome.append), token, events, outcome)


def draw_together(model: QwenImageModel, *drawings: Drawing, at_once: int = 8) -> None:
    draw(model.pipeline, model.decoder, [drawing.part for drawing in drawings], pictures_at_once=at_once)


def draw_alone(model: QwenImageModel, prompt: str, **changes: Any) -> npt.NDArray[np.uint8]:
    drawing = make(model, prompt, **changes)
    draw_together(model, drawing)
    return drawing.pixels[0]


def difference(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_requests_with_prompts_of_unequal_length_draw_what_they_draw_alone(model: QwenImageModel, mode: str) -> None:
    drawings = [make(model, SHORT, seed=1, mode=mode), make(model, LONG, seed=2, mode=mode)]
    draw_together(model, *drawings)
    alone = [draw_alone(model, SHORT, seed=1, mode=mode), draw_alone(model, LONG, seed=2, mode=mode)]
    for drawing, expected in zip(drawings, alone, strict=True):
        assert difference(drawing.pixels[0], expected) <= TOLERANCE
        assert isinstance(drawing.outcome[0], GenerationTimings)
    assert difference(*alone) > 20


def test_a_lost_mask_would_draw_another_picture(model: QwenImageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_mask(texts: Sequence[TextEmbedding]) -> TextEmbedding:
        return dataclasses.replace(stack_texts(texts), mask=None)

    monkeypatch.setattr(denoising, "stack_texts", without_mask)
    short = make(model, SHORT, seed=1)
    draw_together(model, short, make(model, LONG, seed=2))
    monkeypatch.undo()
    assert difference(short.pixels[0], draw_alone(model, SHORT, seed=1)) > TOLERANCE


def test_pictures_of_one_request_are_those_drawn_alone_with_their_seeds(model: QwenImageModel) -> None:
    together = make(model, LONG, seed=100, count=3)
    draw_together(model, together, at_once=2)
    for index, pixels in enumerate(together.pixels):
        assert difference(pixels, draw_alone(model, LONG, seed=100 + index)) <= TOLERANCE
    # Two at once, then the third alone.
    assert together.steps == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("leaves_after", [1, 2, 3])
def test_a_cancelled_request_leaves_at_the_next_step_and_the_others_go_on(
    model: QwenImageModel, leaves_after: int
) -> None:
    staying, leaving, last = make(model, SHORT, seed=1), make(model, LONG, seed=2), make(model, SHORT, seed=3)
    told = leaving.part.emit

    def emit(event: object) -> None:
        told(event)
        if isinstance(event, StepFinished) and event.step == leaves_after:
            leaving.token.cancel()

    leaving.part.emit = emit
    rows: list[int] = []
    hook = model.pipeline.transformer.register_forward_hook(lambda module, inputs, output: rows.append(len(output[0])))
    draw_together(model, staying, leaving, last)
    hook.remove()
    assert rows == [3] * 2 * leaves_after + [2] * 2 * (3 - leaves_after)
    assert isinstance(leaving.outcome[0], Cancelled)
    assert leaving.pixels == []
    assert difference(staying.pixels[0], draw_alone(model, SHORT, seed=1)) <= TOLERANCE
    assert difference(last.pixels[0], draw_alone(model, SHORT, seed=3)) <= TOLERANCE


def test_when_all_leave_the_device_is_free_within_a_step(model: QwenImageModel) -> None:
    drawings = [make(model, SHORT, steps=50), make(model, LONG, steps=50)]

    def leave(event: object) -> None:
        for drawing in drawings:
            drawing.token.cancel()

    drawings[0].part.emit = leave
    rows: list[int] = []
    hook = model.pipeline.transformer.register_forward_hook(lambda module, inputs, output: rows.append(len(output[0])))
    draw_together(model, *drawings)
    hook.remove()
    assert rows == [2, 2]
    assert [type(drawing.outcome[0]) for drawing in drawings] == [Cancelled, Cancelled]


def test_a_picture_that_is_not_finite_fails_its_own_request_alone(model: QwenImageModel) -> None:
    healthy, broken = make(model, SHORT, seed=1), make(model, SHORT, seed=2)

    def spoil(module: Any, inputs: Any, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        output[0][1] = torch.nan
        return output

    hook = model.pipeline.transformer.register_forward_hook(spoil)
    draw_together(model, healthy, broken)
    hook.remove()
    assert isinstance(broken.outcome[0], NonFiniteResult)
    assert broken.pixels == []
    assert difference(healthy.pixels[0], draw_alone(model, SHORT, seed=1)) <= TOLERANCE


@torch.inference_mode()
def test_texts_are_padded_and_the_mask_tells_where(model: QwenImageModel) -> None:
    texts = [encode_prompt(model.pipeline, prompt) for prompt in (SHORT, LONG)]
    lengths = [text.states.shape[1] for text in texts]
    stacked = stack_texts(texts)
    assert stacked.mask is not None
    assert stacked.mask.sum(dim=1).tolist() == lengths
    assert torch.equal(stacked.states[0, : lengths[0]], texts[0].states[0])
    assert stacked.states[0, lengths[0] :].abs().max() == 0
    assert stack_texts([texts[0], texts[0]]).mask is None
    assert stack_texts(texts[:1]) is texts[0]


class Unread:
    """Where nobody reads a LoRA."""

    def adapter(self, record: LoraRecord, *, field: str) -> Adapter:
        raise AssertionError(f"{record.uri} was read")


def requested(file: str, *, strength: float = 1.0, field: str = "loras[0].lora_id") -> RequestedLora:
    """Return a LoRA of a request that nobody loads; those of files a and b have one name and version."""
    record = LoraRecord(
        lora_id="anna" if file in "ab" else file,
        version=1,
        trigger_word="",
        format="diffusers",
        rank=4,
        modules=1,
        base_model="",
        size_bytes=1,
        sha256="",
        uri=f"artifact://{file}.safetensors",
        create_time="",
    )
    return RequestedLora(record, strength, field, Unread())


def test_only_what_draws_alike_has_one_shape(model: QwenImageModel) -> None:
    def shape(**changes: Any) -> object:
        return make(model, SHORT, **changes).part.item.shape

    assert shape() == shape(seed=9, count=2, negative_prompt="hats", preview_every=1)
    others: list[dict[str, Any]] = [
        {"steps": 4},
        {"width": 160},
        {"width": 160, "height": 192},
        {"true_cfg_scale": 2.0},
        {"mode": "fast"},
        {"loras": [requested("a")]},
        {"loras": [requested("b")]},  # another tenant's of the same name and version
        {"loras": [requested("a", strength=0.5)]},
        {"loras": [requested("a"), requested("c")]},
    ]
    assert shape(loras=[requested("c"), requested("a")]) == shape(loras=[requested("a"), requested("c", field="x")])
    assert len({shape(), *(shape(**changes) for changes in others)}) == len(others) + 1
