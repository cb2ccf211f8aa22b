"""Loading a profile's weights onto a device, after a look at whether everything is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline, QwenImageTransformer2DModel

from core.qwen.checkpoint import WeightsMissing, find_weights, hash_folder
from core.qwen.compiling import compile_blocks
from core.qwen.loras.adapter import LoraRejected
from core.qwen.loras.file import read_lora
from core.qwen.loras.stack import LoraStack
from core.qwen.modes import adapter_name
from core.qwen.offload import Offload, place
from core.qwen.pipelines import Pipeline
from core.qwen.precision import loaded_dtype, quantize_float8
from core.qwen.preflight import LoadingChoices, LoadingPlan, plan_loading
from core.qwen.profile import Profile
from core.qwen.text import TokenCounter, check_template
from core.qwen.vae import FrameDecoder

__all__ = [
    "ModelDescription",
    "QwenImageModel",
    "WeightsMissing",
    "add_loras",
    "assemble",
    "find_weights",
    "load_model",
]


@dataclass(frozen=True)
class ModelDescription:
    """What drew a picture, for answers and logs."""

    name: str
    revision: str
    """A commit of the hub, or ``sha256:`` and a hash over the local folder."""
    profile: str
    precision: str
    """The number format of the weights, for example ``bfloat16``."""
    device: str
    """For example ``cpu`` or ``cuda:0``."""
    offload: str = "none"
    """What is kept in the main memory; see `core.qwen.offload.Offload`."""
    compiled: bool = False
    """Whether the transformer's blocks are compiled."""
    guidance_device: str = ""
    """The second device, which works on the negative prompt; empty where there is none."""


@dataclass(frozen=True)
class QwenImageModel:
    """A loaded model. Its pipeline keeps state while it works: one thread at a time."""

    profile: Profile
    description: ModelDescription
    pipeline: Pipeline
    decoder: FrameDecoder
    token_counter: TokenCounter
    """For the thread that admits requests; the pipeline's own tokenizer belongs to the thread that draws."""
    guidance_transformer: QwenImageTransformer2DModel | None = None
    """The pipeline's transformer, once more, on a second device: it predicts for the negative prompt."""

    @property
    def transformers(self) -> tuple[QwenImageTransformer2DModel, ...]:
        """The transformers of all devices; LoRAs have to act on each."""
        return (self.pipeline.transformer, *([self.guidance_transformer] if self.guidance_transformer else []))


def load_model(
    profile: Profile,
    *,
    weights_dir: Path,
    device: str = "cpu",
    offline: bool = False,
    choices: LoadingChoices | None = None,
) -> QwenImageModel:
    """Load the pipeline and every mode's LoRA of ``profile``, after a look at whether all is there.

    Args:
        profile: what to load.
        weights_dir: the folder that relative folders of the profile are inside.
        device: ``cpu``, ``cuda`` or ``cuda:0``.
        offline: take hub weights from the local cache only.
        choices: further choices; they take the place of ``device`` and ``offline``.

    Raises:
        WeightsMissing: devices, libraries, files or memory are not there; all that is missing is named.
        LoraRejected: a mode's LoRA does not fit or is damaged.
        TokenizerMismatch: the tokenizer does not fit the pipeline's chat template.
    """
    plan = plan_loading(
        profile, weights_dir=weights_dir, choices=choices or LoadingChoices(device=device, offline=offline)
    )
    profile = _with_what_is_there(profile, plan)
    dtype = loaded_dtype(plan.precision)

    def load_transformer(device: torch.device) -> QwenImageTransformer2DModel:
        # Straight to a card that holds it: on the way through the main memory it would need room there.
        straight = device.type == "cuda" and plan.precision != "float8" and plan.offload is not Offload.BLOCKS
        return QwenImageTransformer2DModel.from_pretrained(
            plan.folder / "transformer",
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            **({"device_map": {"": device}} if straight else {}),
        )

    transformer = load_transformer(plan.device)
    kind = QwenImageEditPlusPipeline if profile.editing else QwenImagePipeline
    pipeline = kind.from_pretrained(
        plan.folder, transformer=transformer, dtype=dtype, local_files_only=True, use_safetensors=True
    )
    guidance_transformer = None if plan.guidance_device is None else load_transformer(plan.guidance_device)
    revision = profile.weights.revision or f"sha256:{hash_folder(plan.folder)}"
    return assemble(profile, plan, pipeline, revision=revision, guidance_transformer=guidance_transformer)


def _with_what_is_there(profile: Profile, plan: LoadingPlan) -> Profile:
    """Leave out the modes whose optional LoRA isn't there."""
    modes = tuple(mode for mode in profile.modes if mode.lora is None or mode.name in plan.lora_files)
    if not modes:
        raise WeightsMissing(f"profile {profile.name!r} has no mode left: none of its LoRAs is at {plan.folder}")
    return dataclasses.replace(profile, modes=modes)


def assemble(
    profile: Profile,
    plan: LoadingPlan,
    pipeline: Pipeline,
    *,
    revision: str,
    guidance_transformer: QwenImageTransformer2DModel | None = None,
) -> QwenImageModel:
    """Make a loaded pipeline ready to draw: precision, LoRAs, devices, compiled blocks, in the order that they need.

    Raises:
        LoraRejected: a mode's LoRA does not fit or is damaged.
        TokenizerMismatch: the tokenizer does not fit the pipeline's chat template.
        WeightsMissing: an edit model's transformer was built without ``zero_cond_t``.
    """
    check_template(pipeline)
    if profile.editing and not getattr(pipeline.transformer, "zero_cond_t", False):
        raise WeightsMissing(
            "this transformer treats the pictures that are handed in as noisy as the result (zero_cond_t is off, or "
            "diffusers is too old to know it): take Qwen-Image-Edit-2511 or later weights"
        )
    pipeline.text_encoder.eval()
    transformers = [(pipeline.transformer, plan.device)]
    if guidance_transformer is not None and plan.guidance_device is not None:
        transformers.append((guidance_transformer, plan.guidance_device))
    for transformer, device in transformers:
        transformer.eval()
        if plan.precision == "float8":
            quantize_float8(transformer, device)
        if plan.offload is not Offload.BLOCKS:
            transformer.to(device)
        add_loras(transformer, profile, plan.lora_files)
        transformer.requires_grad_(False)
    place(pipeline, plan.device, plan.offload)
    if plan.compiled:
        for transformer, _ in transformers:
            compile_blocks(transformer, backend=plan.compiler)
    return QwenImageModel(
        profile=profile,
        description=ModelDescription(
            name=profile.weights.name,
            revision=revision,
            profile=profile.name,
            precision=plan.precision,
            device=str(plan.device),
            offload=str(plan.offload),
            compiled=plan.compiled,
            guidance_device="" if plan.guidance_device is None else str(plan.guidance_device),
        ),
        pipeline=pipeline,
        decoder=FrameDecoder(pipeline.vae).to(plan.device),
        token_counter=TokenCounter(pipeline, profile.max_prompt_tokens),
        guidance_transformer=guidance_transformer,
    )


def add_loras(transformer: QwenImageTransformer2DModel, profile: Profile, files: Mapping[str, Path]) -> LoraStack:
    """Give ``transformer`` room for LoRAs, and keep those of the modes, by mode name in ``files``, beside it.

    Raises:
        LoraRejected: a file does not fit or is damaged; it is named.
    """
    stack = LoraStack.install(transformer, widths=profile.loras.widths, dtype=transformer.dtype)
    for mode in profile.modes:
        if mode.lora is None:
            continue
        file = files[mode.name]
        try:
            adapter = read_lora(file, stack.shapes, dtype=stack.dtype, max_rank=stack.rows)
        except LoraRejected as error:
            raise LoraRejected(f"{file.name} of mode {mode.name!r} cannot be used: {error}") from error
        stack.keep(adapter_name(mode), adapter.to(transformer.device))
    return stack
