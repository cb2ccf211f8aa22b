"""The instruction that puts the persons of pictures into a scene. No torch: training pairs are drawn with it too."""

from __future__ import annotations

from core.qwen.profile import SceneWords


def compose_scene(words: SceneWords, scene: str, pictures: int) -> str:
    """Write the instruction that puts the persons of so many ``pictures`` into ``scene``."""
    names = [f"Picture {number}" for number in range(1, pictures + 1)]
    listed = ", ".join(names[:-1]) + " and " + names[-1] if pictures > 1 else names[0]
    template = words.one if pictures == 1 else words.several
    # Not by format: braces in the scene are the client's own.
    return template.replace("{pictures}", listed).replace("{scene}", scene.strip().rstrip("."))
