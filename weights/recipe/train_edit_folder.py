"""The finished editor's folder: its own transformer and LoRA, and links to what it shares with the generator's.

Text encoder, autoencoder and tokenizer are one file for both miniatures: ``miniature-edit/vae/…`` is a link to
``../miniature/vae/…``. The generator's text encoder gets the trained vision tower, which it never asks; every bit of
its language model stays.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path

import torch
from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline, QwenImageTransformer2DModel
from safetensors.torch import load_file

from weights.recipe.architecture import build_processor, save
from weights.recipe.train_edit_state import write_whole

SHARED = ("vae", "text_encoder", "tokenizer")
TRANSFORMER_FILE = Path("transformer") / "diffusion_pytorch_model.safetensors"
ENCODER_FILE = Path("text_encoder") / "model.safetensors"


def start_from(folder: Path) -> QwenImageEditPlusPipeline:
    """Build the edit pipeline from the generator's: its weights, float32, and ``zero_cond_t``, which adds none."""
    generator = QwenImagePipeline.from_pretrained(folder, dtype=torch.float32)
    transformer = QwenImageTransformer2DModel.from_config(generator.transformer.config, zero_cond_t=True)
    transformer.load_state_dict(generator.transformer.state_dict())
    return QwenImageEditPlusPipeline(
        scheduler=generator.scheduler,
        vae=generator.vae,
        text_encoder=generator.text_encoder,
        tokenizer=generator.tokenizer,
        processor=build_processor(generator.tokenizer),
        transformer=transformer,
    )


def write_folder(pipeline: QwenImageEditPlusPipeline, folder: Path, generator: Path) -> None:
    """Write the pipeline to ``folder``, in fp16, and its vision tower into ``generator``, a folder beside it."""
    finished = copy.deepcopy(pipeline.components)
    finished = {name: part.cpu() if isinstance(part, torch.nn.Module) else part for name, part in finished.items()}
    save(QwenImageEditPlusPipeline(**finished), folder)
    tensors, before = load_file(folder / ENCODER_FILE), load_file(generator / ENCODER_FILE)
    if tensors.keys() != before.keys():
        raise ValueError(f"{generator / ENCODER_FILE} is of another text encoder")
    tower = {name: tensor for name, tensor in tensors.items() if "visual." in name}
    write_whole({**before, **tower}, generator / ENCODER_FILE)
    link_shared(folder, generator)


def link_shared(folder: Path, generator: Path) -> None:
    """Replace the parts of ``folder`` that the generator has as well by links to its files.

    Raises FileNotFoundError where the generator lacks one.
    """
    for part in SHARED:
        (folder / part).mkdir(parents=True, exist_ok=True)
        for old in (folder / part).iterdir():
            old.unlink()
        for file in sorted((generator / part).iterdir()):
            away = os.path.relpath(generator.resolve() / part, (folder / part).resolve())
            (folder / part / file.name).symlink_to(Path(away) / file.name)
    if not (folder / ENCODER_FILE).is_file():
        raise FileNotFoundError(f"{generator / ENCODER_FILE} is not there")
