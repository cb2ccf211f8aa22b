"""What docs/04-generator.md says of each parameter that is wrong is what a running generator answers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from services.generator.settings import GeneratorSettings
from tests.support.registry import Registry, request, use
from tests.test_generator_page import PARAMETERS, names

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": " "}),
    ("prompt", {"prompt": " the" * 900}),
    ("negative_prompt", {"negative_prompt": "x" * 4001}),
    ("negative_prompt", {"negative_prompt": " the" * 900, "true_cfg_scale": 3.0}),
    ("mode", {"mode": "turbo"}),
    ("mode", {"mode": "A mode"}),
    ("aspect_ratio", {"aspect_ratio": "5:1"}),
    ("width", {"width": 9999}),
    ("height", {"height": 9999}),
    ("seed", {"seed": -1}),
    ("count", {"count": 9}),
    ("steps", {"steps": 101}),
    ("true_cfg_scale", {"true_cfg_scale": 0.5}),
    ("trigger_word", {"trigger_word": "x" * 101}),
    ("loras", {"loras": [use("anna"), use("anna")]}),
    ("loras", {"loras": [use("anna")] * 5}),
    ("loras.lora_id", {"loras": [use("../anna")]}),
    ("loras.lora_id", {"loras": [use("nobody")]}),
    ("loras.lora_id", {"loras": [use("damaged")]}),
    ("loras.version", {"loras": [use("anna", version=-1)]}),
    ("loras.version", {"loras": [use("anna", version=7)]}),
    ("loras.strength", {"loras": [use("anna", strength=4.5)]}),
    ("priority", {"priority": 9}),
    ("preview_every", {"preview_every": 101}),
    ("output.format", {"output": {"format": 99}}),
    ("output.quality", {"output": {"quality": 0}}),
]


async def test_every_error_of_the_page_is_answered_and_no_other(
    registry: Registry, settings: GeneratorSettings
) -> None:
    await registry.register("anna")
    await registry.register("damaged")
    file = next(Path(settings.artifacts_url).rglob("loras/damaged/*/*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    answered: dict[str, set[str]] = defaultdict(set)
    for name, changes in WRONG:
        message = request()
        for field in changes:
            message.ClearField(field)  # type: ignore[arg-type]  # the stub wants literals
        message.MergeFrom(type(message)(**changes))
        answered[name].add((await registry.generator.refusal(message)).reason)
    told = {name: set(names(row[5])) for name, row in PARAMETERS.items()}
    assert answered == {name: reasons for name, reasons in told.items() if reasons}


def test_every_parameter_is_tried() -> None:
    assert {name for name, _ in WRONG} == {name for name, row in PARAMETERS.items() if row[5]}
