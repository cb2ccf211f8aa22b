"""The model that a LoRA is trained on, in two parts that need not be in memory together: encoders and transformer."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from peft import LoraConfig

from core.qwen.checkpoint import WeightsMissing, find_lora, find_weights, hash_folder, read_header
from core.qwen.loras.file import read_lora
from core.qwen.loras.stack import LoraStack
from core.qwen.modes import adapter_name
from core.qwen.precision import loaded_dtype, precision_problems
from core.qwen.preflight import find_device
from core.qwen.profile import Mode, Profile, load_profile
from core.qwen.vae import FrameDecoder
from core.training.spec import TrainingSpec
from likeness.errors import InvalidRequest

ADAPTER = "character"
"""Name of the adapter that is trained."""
INNER = ".base"
"""What a linear layer is called inside the room for LoRAs that it is given."""


@dataclass(frozen=True)
class BaseSource:
    """Where the base is and what it is, found before anything is loaded."""

    profile: Profile
    folder: Path
    device: torch.device
    dtype: torch.dtype
    """Of the base's weights."""
    mode: Mode
    """Mode of the sample pictures."""
    mode_lora: Path | None

    @classmethod
    def find(cls, spec: TrainingSpec) -> BaseSource:
        """Look for all that a run needs.

        Raises:
            WeightsMissing: files, or a device, are not there.
            InvalidRequest: the profile has no such mode, or takes no LoRA of this rank.
        """
        profile = load_profile(spec.profile)
        device = find_device(spec.device)
        precision = profile.precision.cuda if device.type == "cuda" else profile.precision.cpu
        # Nothing is learned through rounded activations, so the base is trained on unquantised.
        precision = "bfloat16" if precision == "float8" else precision
        if problems := precision_problems(precision, device):
            raise WeightsMissing("; ".join(problems))
        settings = spec.settings
        mode = next((mode for mode in profile.modes if mode.name == settings.evaluation.mode), None)
        if mode is None:
            known = ", ".join(mode.name for mode in profile.modes)
            raise InvalidRequest(f"unknown mode {settings.evaluation.mode!r}: choose one of {known}", field="mode")
        if settings.hyperparameters.rank > profile.loras.max_rank:
            raise InvalidRequest(
                f"rank is {settings.hyperparameters.rank}; the generator takes LoRAs up to {profile.loras.max_rank}",
                field="hyperparameters.rank",
            )
        folder = find_weights(profile, weights_dir=Path(spec.weights_dir), offline=spec.offline)
        file = None if mode.lora is None else find_lora(mode, mode.lora, folder, offline=spec.offline)
        return cls(profile, folder, device, loaded_dtype(precision), mode, file)

    @property
    def revision(self) -> str:
        """A commit of the hub, or ``sha256:`` and a hash over the local folder."""
        return self.profile.weights.revision or f"sha256:{hash_folder(self.folder)}"

    def component_hash(self, *names: str) -> str:
        """Hash what components consist of."""
        return "-".join(hash_folder(self.folder / name) for name in names)


@contextmanager
def encoders(source: BaseSource) -> Iterator[QwenImagePipeline]:
    """Load the text encoder and the autoencoder, and give their memory back afterwards."""
    pipeline = QwenImagePipeline.from_pretrained(
        source.folder, transformer=None, dtype=source.dtype, local_files_only=True, use_safetensors=True
    )
    for module in (pipeline.text_encoder, pipeline.vae):
        module.to(source.device).eval().requires_grad_(False)
    try:
        yield pipeline
    finally:
        pipeline.register_modules(text_encoder=None, vae=None, tokenizer=None)
        release(source.device)


def load_decoder(source: BaseSource) -> FrameDecoder:
    """Load what turns latents into pictures."""
    vae = AutoencoderKLQwenImage.from_pretrained(
        source.folder / "vae", dtype=source.dtype, local_files_only=True, use_safetensors=True
    )
    return FrameDecoder(vae).to(source.device)


def release(device: torch.device) -> None:
    """Give memory that nothing refers to back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class TrainableBase:
    """The frozen transformer with an adapter of float32 weights inside, and room for LoRAs to draw with outside."""

    pipeline: QwenImagePipeline
    """Scheduler and transformer; no encoders."""
    stack: LoraStack
    parameters: dict[str, torch.nn.Parameter]
    """The adapter's weights by their names in a file: ``<module>.lora_A.weight`` and ``<module>.lora_B.weight``."""

    @property
    def transformer(self) -> QwenImageTransformer2DModel:
        """The transformer."""
        transformer: QwenImageTransformer2DModel = self.pipeline.transformer
        return transformer

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Set the adapter aside: pictures are drawn through the stack, as the generator does."""
        self.transformer.disable_adapters()
        try:
            yield
        finally:
            self.stack.apply([])
            self.transformer.enable_adapters()


def load_trainable(source: BaseSource, spec: TrainingSpec) -> TrainableBase:
    """Load the transformer and give it an adapter whose weights depend on the seed alone.

    Raises:
        InvalidRequest: no layer's name ends in one of the targets.
        LoraRejected: the mode's own LoRA does not fit or is damaged.
    """
    settings = spec.settings.hyperparameters
    straight = {"device_map": {"": source.device}} if source.device.type == "cuda" else {}
    transformer = QwenImageTransformer2DModel.from_pretrained(
        source.folder / "transformer", dtype=source.dtype, local_files_only=True, use_safetensors=True, **straight
    )
    transformer.eval().requires_grad_(False)
    stack = _install_stack(transformer, source, settings.rank)
    modules = [name for name in stack.shapes if any(f".{name}".endswith(f".{target}") for target in settings.targets)]
    if not modules:
        raise InvalidRequest(
            f"no layer of the model is called {', '.join(settings.targets)}", field="hyperparameters.targets"
        )
    # peft draws the first weights from torch's own generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or settings.rank,
            target_modules=[f"{name}{INNER}" for name in modules],
            init_lora_weights="gaussian",
        )
        transformer.add_adapter(config, adapter_name=ADAPTER)
    parameters = {}
    for name, parameter in transformer.named_parameters():
        if parameter.requires_grad:
            # peft takes the base's number format; in bfloat16 small updates would be rounded away.
            parameter.data = parameter.data.float()
            parameters[name.replace(f"{INNER}.lora_", ".lora_").replace(f".{ADAPTER}.", ".")] = parameter
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(source.folder / "scheduler", local_files_only=True)
    pipeline = QwenImagePipeline(
        scheduler=scheduler, vae=None, text_encoder=None, tokenizer=None, transformer=transformer
    )
    return TrainableBase(pipeline, stack, parameters)


def _install_stack(transformer: QwenImageTransformer2DModel, source: BaseSource, rank: int) -> LoraStack:
    own = 0
    if source.mode_lora is not None:
        own = max(min(entry.shape) for entry in read_header(source.mode_lora) if len(entry.shape) == 2)
    stack = LoraStack.install(transformer, widths=(own + rank,), dtype=source.dtype)
    if source.mode_lora is not None:
        adapter = read_lora(source.mode_lora, stack.shapes, dtype=stack.dtype, max_rank=own)
        stack.keep(adapter_name(source.mode), adapter.to(source.device))
    return stack
