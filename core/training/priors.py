"""Prior preservation: the base's own pictures of the class, drawn once and kept."""

from __future__ import annotations

from core.qwen.profile import Size
from core.training.base import BaseSource
from core.training.batches import derived_seed
from core.training.cache import EncodingCache
from core.training.drawing import Painter
from core.training.loop import Example
from core.training.selection import negative_texts, sample_size
from core.training.spec import TrainingSpec


class PriorPictures:
    """Pictures of the class word in the scenes of the sample prompts."""

    def __init__(self, spec: TrainingSpec, source: BaseSource, cache: EncodingCache) -> None:
        """Describe them; nothing is drawn yet."""
        self._settings = spec.settings.hyperparameters.prior
        self._source = source
        self._cache = cache
        self._seed = spec.settings.hyperparameters.seed
        self._mode = source.mode.name
        self._size: Size = sample_size(spec, source)
        self._prompts = [prompt.format(subject=spec.settings.class_word) for prompt in spec.settings.evaluation.prompts]

    def texts(self) -> list[str]:
        """What has to be encoded."""
        return [] if self._settings is None else [*self._prompts, *negative_texts(self._source)]

    def draw(self, painter: Painter) -> list[Example]:
        """Draw what is not kept yet. Raises Cancelled, NonFiniteResult."""
        if self._settings is None:
            return []
        examples = []
        for number in range(self._settings.pictures):
            prompt = self._prompts[number % len(self._prompts)]
            seed = derived_seed(self._seed, "prior picture", number) % 2**48
            name = f"prior:{self._source.revision}:{self._mode}:{self._size}:{seed}:{prompt}"
            latents = self._cache.load_latents(name)
            if latents is None:
                latents = painter.draw_latents(prompt, seed, self._size, None).float().cpu()
                self._cache.keep_latents(name, latents)
            text = painter.encoded.texts[prompt]
            examples.append(Example(latents, text, self._size, side=0, face=None, weight=self._settings.weight))
        return examples
