from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import grpc.aio
import pytest

from core.qwen.loading import QwenImageModel
from core.qwen.offload import Offload
from core.qwen.preflight import LoadingChoices
from core.qwen.step_caches import FirstBlockCache
from core.runtime.artifacts import ArtifactStore
from core.runtime.server import running_service
from core.runtime.settings import SettingsError
from core.runtime.telemetry import configure_logging
from likeness.generator.v1.generator_service_pb2 import GenerateRequest, GetCapabilitiesRequest
from services.generator.engine import GeneratorEngine
from services.generator.service import make_spec
from services.generator.settings import GeneratorSettings
from tests.support.generator import RunningGenerator


def test_settings_choose_precision_offload_compiling_and_a_second_device() -> None:
    assert GeneratorSettings.load().loading_choices() == LoadingChoices()
    settings = GeneratorSettings.load(
        device="cuda:0", guidance_device="cuda:1", precision="float8", offload="text_encoder", compiled=True
    )
    assert settings.loading_choices() == LoadingChoices(
        device="cuda:0",
        guidance_device="cuda:1",
        precision="float8",
        offload=Offload.TEXT_ENCODER,
        compiled=True,
    )


@pytest.mark.parametrize(
    ("name", "value"), [("precision", "float16"), ("offload", "everything"), ("compiled", "maybe")]
)
def test_a_choice_that_there_is_not_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: .*{value}"):
        GeneratorSettings.load(**{name: value})


async def test_answers_and_capabilities_name_what_the_pictures_were_made_with(
    settings: GeneratorSettings, model: QwenImageModel
) -> None:
    full, *others = model.profile.modes
    cached = dataclasses.replace(full, step_cache=FirstBlockCache(threshold=0.2))
    model = dataclasses.replace(model, profile=dataclasses.replace(model.profile, modes=(cached, *others)))
    spec = make_spec(settings)
    worker = spec.worker
    assert worker is not None
    library = settings.make_library(model, ArtifactStore(settings.artifacts_url))
    spec = dataclasses.replace(spec, load=lambda: GeneratorEngine(model, worker, library))
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        generator = RunningGenerator(channel, worker, model, library)
        capabilities = await generator.stub.GetCapabilities(GetCapabilitiesRequest())
        slow = await generator.generate(GenerateRequest(prompt="a woman", width=160, height=160, steps=2))
        fast = await generator.generate(GenerateRequest(prompt="a woman", width=160, height=160, mode="fast"))
    assert [mode.step_cache for mode in capabilities.modes] == ["first_block(threshold=0.2)", ""]
    info = slow[-1].finished.model
    assert (info.precision, info.offload, info.compiled, info.step_cache, info.guidance_device) == (
        "float32",
        "none",
        False,
        "first_block(threshold=0.2)",
        "",
    )
    assert fast[-1].finished.model.step_cache == ""


async def test_the_service_is_ready_when_every_mode_was_drawn_and_the_log_says_how_long_that_took(
    settings: GeneratorSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger().handlers[:]
    configure_logging("INFO", "json")
    try:
        choices = settings.model_copy(update={"guidance_device": "cpu"})
        async with running_service(make_spec(choices), choices):
            lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    finally:
        logging.getLogger().handlers[:] = handlers
    messages = [line["message"] for line in lines]
    assert messages.index("model loaded") < messages.index("ready")
    loaded = lines[messages.index("model loaded")]
    assert loaded["load_seconds"] > 0 and loaded["warm_up_seconds"] > 0
    said = {name: loaded[name] for name in ("offload", "compiled", "graphs", "guidance_device")}
    assert said == {"offload": "none", "compiled": False, "graphs": 0, "guidance_device": "cpu"}


def test_a_process_that_cannot_load_says_all_that_is_missing(settings: GeneratorSettings, tmp_path: Path) -> None:
    missing = settings.model_copy(update={"device": "cuda:63", "profile_file": None, "weights_dir": tmp_path})
    load = make_spec(missing).load
    with pytest.raises(RuntimeError, match=r"'cuda:63' is not there.*model_index\.json is missing"):
        load()
