"""An optional look at pictures and results: what a classifier refuses is answered with a status, never a black picture.

Any image classifier of transformers in a local folder serves, for example a ViT that was trained to tell what is not
safe for work. torch and transformers are imported only when a deployment names one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from core.faces.arrays import Image
from likeness.errors import ContentRefused


class ContentCheckError(ValueError):
    """The classifier of the settings cannot be used; the message says why and what to change."""


class ContentCheck(Protocol):
    """Looks at pictures. Safe to use from several threads."""

    def check(self, image: Image, field: str | None) -> None:
        """Look at an H×W×3 uint8 RGB picture; `field` names it in the request, None is the result.

        Raises ContentRefused.
        """
        ...


class ClassifierCheck:
    """A content check by an image classifier."""

    def __init__(self, folder: Path, labels: Sequence[str], threshold: float, threads: int = 1) -> None:
        """Load the classifier of `folder`: config.json, model.safetensors and preprocessor_config.json.

        A picture is refused when the probabilities of `labels` sum to `threshold` or more, 0–1. Nothing is fetched.
        Raises ContentCheckError when files or packages are missing, or the classifier has none of the labels.
        """
        try:
            import torch
            from transformers import AutoImageProcessor, AutoModelForImageClassification
        except ImportError as error:
            raise ContentCheckError(
                f"content_check_model needs the package {error.name}: pip install 'likeness[content-check]'"
            ) from error
        if not folder.is_dir():
            raise ContentCheckError(f"content_check_model: there is no folder {folder}")
        try:
            self._processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
            self._model: Any = AutoModelForImageClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            ).eval()
        except (OSError, ValueError) as error:
            raise ContentCheckError(f"content_check_model: {folder} cannot be loaded: {error}") from error
        torch.set_num_threads(threads)
        known = {str(label): int(place) for place, label in self._model.config.id2label.items()}
        missing = [label for label in labels if label not in known]
        if missing or not labels:
            raise ContentCheckError(
                f"content_check_labels: the classifier has no {', '.join(missing) or 'label named'}; it has: "
                f"{', '.join(known)}"
            )
        self._refused = {label: known[label] for label in labels}
        self._threshold = threshold

    def check(self, image: Image, field: str | None) -> None:
        """As `ContentCheck.check`."""
        import torch

        inputs = self._processor(images=image, return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            odds = self._model(**inputs).logits[0].float().softmax(-1)
        score = sum(float(odds[place]) for place in self._refused.values())
        if not score < self._threshold:
            what = "the result is refused" if field is None else "the picture is refused"
            raise ContentRefused(
                f"{what} by this deployment's content check: {', '.join(self._refused)} {score:.2f}, at most "
                f"{self._threshold:g} is taken; use another picture, or ask the operator if it is mistaken",
                field=field,
                score=f"{score:.2f}",
                threshold=f"{self._threshold:g}",
            )
