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

from core.qwen.checkpoint import WeightsMissing, find_lora, find_weights, hash_folder, read_header
from core.qwen.compiling import compile_blocks
from core.qwen.loras.file import read_lora
from core.qwen.loras.stack import LoraStack
from core.qwen.modes import adapter_name
from core.qwen.precision import loaded_dtype, precision_problems
from core.qwen.preflight import find_device
from core.qwen.profile import Mode, Profile, load_profile
from core.qwen.vae import FrameDecoder
from core.training.adapter import add_adapter
from core.training.float8 import store_in_float8
from core.training.settings import Hyperparameters
from core.training.spec import TrainingSpec
from likeness.errors import InvalidRequest

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
    # A base that is stored in float8 has room on a card that its full weights would not fit: it comes layer by layer.
    straight = source.device.type == "cuda" and settings.base_storage == "full"
    transformer = QwenImageTransformer2DModel.from_pretrained(
        source.folder / "transformer",
        dtype=source.dtype,
        local_files_only=True,
        use_safetensors=True,
        **({"device_map": {"": source.device}} if straight else {}),
    )
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(source.folder / "scheduler", local_files_only=True)
    compiled = source.device.type == "cuda" and source.profile.compiled
    return make_trainable(
        transformer,
        scheduler,
        settings,
        device=source.device,
        mode_lora=source.mode_lora,
        mode_name=adapter_name(source.mode),
        compiler="inductor" if compiled else None,
    )


def make_trainable(
    transformer: QwenImageTransformer2DModel,
    scheduler: FlowMatchEulerDiscreteScheduler,
    settings: Hyperparameters,
    *,
    device: torch.device,
    mode_lora: Path | None = None,
    mode_name: str = "",
    compiler: str | None = None,
) -> TrainableBase:
    """Freeze a transformer, store it as the settings say, and give it an adapter.

    Args:
        transformer: as it was loaded; it is changed in place.
        scheduler: of the pipeline that pictures are drawn with.
        settings: the hyperparameters.
        device: where it is trained.
        mode_lora: file of the LoRA that belongs to the sample pictures' mode.
        mode_name: what that LoRA is kept as.
        compiler: backend of ``torch.compile`` for the blocks; None leaves them as they are.

    Raises:
        InvalidRequest: no layer's name ends in one of the targets.
        LoraRejected: the mode's own LoRA does not fit or is damaged.
    """
    dtype = transformer.dtype
    transformer.eval().requires_grad_(False)
    if settings.base_storage == "float8":
        store_in_float8(transformer, device)
    transformer.to(device)
    stack = _install_stack(transformer, dtype, mode_lora, mode_name, settings.rank)
    modules = [name for name in stack.shapes if any(f".{name}".endswith(f".{target}") for target in settings.targets)]
    if not modules:
        raise InvalidRequest(
            f"no layer of the model is called {', '.join(settings.targets)}", field="hyperparameters.targets"
        )
    parameters = add_adapter(transformer, [f"{name}{INNER}" for name in modules], settings)
    if compiler is not None:
        compile_blocks(transformer, backend=compiler)
    pipeline = QwenImagePipeline(
        scheduler=scheduler, vae=None, text_encoder=None, tokenizer=None, transformer=transformer
    )
    named = {name.replace(f"{INNER}.lora_", ".lora_"): parameter for name, parameter in parameters.items()}
    return TrainableBase(pipeline, stack, named)


def _install_stack(
    transformer: QwenImageTransformer2DModel, dtype: torch.dtype, mode_lora: Path | None, mode_name: str, rank: int
) -> LoraStack:
    own = 0
    if mode_lora is not None:
        own = max(min(entry.shape) for entry in read_header(mode_lora) if len(entry.shape) == 2)
    stack = LoraStack.install(transformer, widths=(own + rank,), dtype=dtype)
    if mode_lora is not None:
        adapter = read_lora(mode_lora, stack.shapes, dtype=stack.dtype, max_rank=own)
        stack.keep(mode_name, adapter.to(transformer.device))
    return stack
