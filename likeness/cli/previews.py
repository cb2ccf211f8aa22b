"""Previews of a drawing as files in a folder."""

from __future__ import annotations

from pathlib import Path

from likeness.cli.output import numbered
from likeness.results import GenerationEvent, Preview


class PreviewFolder:
    """Writes each preview as ``<name>-step-<step>.jpg``, with the picture's number where there are several."""

    def __init__(self, folder: Path, name: str, pictures: int) -> None:
        """Write into ``folder``, which is made when it is not there. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self._pictures = pictures
        self.files: list[Path] = []
        """What was written, in its order."""

    def __call__(self, event: GenerationEvent) -> None:
        """Write a preview; other events are let go. Raises OSError."""
        if isinstance(event, Preview):
            name = numbered(Path(self._name), event.image_index, self._pictures)
            file = self._folder / f"{name}-step-{event.step:03}.jpg"
            self.files.append(event.picture.save(file))
