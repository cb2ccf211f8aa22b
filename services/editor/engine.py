"""The editor's work: requests are admitted here, and drawn on the device's one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.qwen.compiling import count_graphs
from core.qwen.editing.conditioning import PictureConditioner
from core.qwen.editing.pictures import Rgb
from core.qwen.editing.request import EditRequest, check_picture_count, resolve_edit
from core.qwen.editing.scene import compose_scene
from core.qwen.editing.words import check_words
from core.qwen.engine import DrawingEngine
from core.qwen.loading import QwenImageModel
from core.qwen.loras.library import LoraLibrary
from core.qwen.profile import Editing
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.warmup import draw_unseen
from core.runtime.worker import DeviceWorker


@dataclass(frozen=True)
class EditDraft:
    """An edit's words and choices, checked before its pictures are decoded."""

    request: GenerationRequest
    words_field: str
    """The field that the words come from."""
    sized: bool
    """Whether the request names a size."""


class EditorEngine(DrawingEngine):
    """A loaded edit model and the thread that works with it."""

    def __init__(self, model: QwenImageModel, worker: DeviceWorker, loras: LoraLibrary) -> None:
        """Edit with ``model`` and the LoRAs of ``loras`` on the thread of ``worker``."""
        super().__init__(model, worker, loras, condition=PictureConditioner(model.pipeline))
        if model.profile.editing is None:
            raise ValueError(f"profile {model.profile.name!r} does not edit")
        self.editing: Editing = model.profile.editing
        """What the model does with pictures."""

    def warm_up(self) -> int:
        """Edit a grey picture in each mode. Blocking; before the worker is used.

        Where blocks are compiled also two pictures: their number and sizes, and the prompt's length, are variables of
        the graphs.

        Returns:
            How many graphs were compiled.
        """
        before = count_graphs()
        size = self.profile.sizes.by_aspect_ratio["1:1"]
        grey = np.full((size.height, size.width, 3), 128, dtype=np.uint8)
        counts = (1, 2) if self.model.description.compiled and self.editing.max_images > 1 else (1,)
        for mode in self.profile.modes:
            for count in counts:
                draft = self.draft(
                    instruction="a portrait",
                    scene="",
                    pictures=count,
                    seed=0,
                    mode=mode.name,
                    steps=1 if mode.adjustable else None,
                )
                draw_unseen(self.model, self.complete(draft, images=[grey] * count, denoise=1.0), self.condition)
        return count_graphs() - before

    def draft(
        self,
        *,
        instruction: str,
        scene: str,
        pictures: int,
        seed: int | None,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        **choices: Any,
    ) -> EditDraft:
        """Check all of a request but its pictures; ``choices`` are further ones of ``resolve_request``.

        Called from one thread, the one that admits. Without a seed a random one is chosen.

        Args:
            instruction: what to change; empty where there is a scene.
            scene: where the persons shall be; the instruction is written from it.
            pictures: how many there are.
            seed: of the first result.
            negative_prompt: what to keep out.
            width: of the results, with ``height``; None for the first picture's shape.
            height: goes with ``width``.
            choices: mode, count, steps, true_cfg_scale, loras, trigger_word, preview_every.

        Raises:
            InvalidRequest, UnknownMode, PromptTooLong: naming the field.
        """
        check_picture_count(self.editing, pictures)
        field = "scene" if scene else "instruction"
        words = compose_scene(self.editing.scene, scene, pictures) if scene else instruction
        check_words(words, field=field)
        check_words(negative_prompt or "", field="negative_prompt")
        check_words(str(choices.get("trigger_word", "")), field="trigger_word")
        request = resolve_request(
            self.profile,
            prompt=words,
            seed=self.choose_seed(seed),
            negative_prompt=negative_prompt,
            width=width,
            height=height,
            **choices,
        )
        check_words(request.prompt, field="loras")
        self.check(request, field=field)
        return EditDraft(request, field, sized=width is not None)

    def complete(
        self,
        draft: EditDraft,
        *,
        images: Sequence[Rgb],
        denoise: float | None = None,
        mask: Rgb | None = None,
    ) -> EditRequest:
        """Complete a draft by its decoded pictures; the arguments are those of ``resolve_edit``. In any thread.

        Raises:
            InvalidRequest: naming the field.
        """
        return resolve_edit(
            self.profile,
            draft.request,
            scheduler=self.model.pipeline.scheduler,
            images=images,
            sized=draft.sized,
            denoise=denoise,
            mask=mask,
        )

    def kind(self, request: GenerationRequest) -> str:
        """Return what edits have in common whose steps take equally long."""
        return f"{request.mode.name} {self.picture_tokens(request)} {request.guided}"

    def picture_tokens(self, request: GenerationRequest) -> int:
        """Return how many image tokens the transformer works on for one result, the pictures' own among them."""
        return request.tokens if isinstance(request, EditRequest) else super().picture_tokens(request)
