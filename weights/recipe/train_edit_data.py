"""What the editor's training reads: drawn sessions, brought to latents and text states once, and kept on the device.

Text encoder and autoencoder rest while the transformer learns, so all that they say is computed before the first step.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import QwenImageEditPlusPipeline
from torch import Tensor

from weights.recipe import parallel
from weights.recipe.edit_encoder import EditEncoder, build_form
from weights.recipe.edit_pairs import SHARES
from weights.recipe.sampling import pack
from weights.recipe.train_vae import encode, flatten_convolutions

EMPTY_INSTRUCTION = " "
FACE_WEIGHT = 3.0
"""Weight of a face's tokens in the loss: who it is is decided on a fifth of them."""
ENCODED_AT_ONCE = 512


@dataclass(frozen=True)
class Pictures:
    """All pictures of the shards that this process reads."""

    latents: Tensor
    """bfloat16 P×16×h×w on the training device, normalised by channel."""
    small: np.ndarray
    """uint8 P×112×112×3."""
    weights: Tensor
    """bfloat16 P×L on the training device: each token's weight in the loss, with mean 1."""
    rows: list[dict[str, Any]]
    """The sessions; session s has the pictures 3s … 3s + 2."""


@dataclass(frozen=True)
class EditGroup:
    """The edits with one number of references, on the training device."""

    references: Tensor
    """N×R: places among the pictures."""
    targets: Tensor
    """N."""
    odds: Tensor
    """N: how often each is drawn, relative to the others."""
    states: Tensor
    """bfloat16 (N·variants + N)×T×width: edit i's instructions at i·variants …, its empty one at N·variants + i."""
    mask: Tensor
    """bool (N·variants + N)×T."""
    variants: int

    def __len__(self) -> int:
        """Return how many edits there are."""
        return len(self.targets)

    @property
    def images(self) -> int:
        """How many references each has."""
        return int(self.references.shape[1])

    def sample(self, count: int) -> Tensor:
        """Draw ``count`` edits by their odds."""
        return torch.multinomial(self.odds, count, replacement=True)

    def texts(self, rows: Tensor, *, empty: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return float32 states and mask of a wording at random for each edit; of the empty one where ``empty``."""
        chosen = rows * self.variants + torch.randint(self.variants, rows.shape, device=rows.device)
        if empty is not None:
            chosen = torch.where(empty, len(self) * self.variants + rows, chosen)
        return self.states[chosen].float(), self.mask[chosen]


def read_sessions(folder: Path, most: int | None = None) -> tuple[list[Path], list[dict[str, Any]]]:
    """List this process's share of the shards in ``folder`` and their sessions, ``most`` at most."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"no drawn sessions in {folder}: run `python -m weights.recipe.edit_pairs` first")
    if len(files) >= parallel.world():
        files = files[parallel.rank() :: parallel.world()]
    lines = [line for file in files for line in file.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
    return files, [json.loads(line) for line in lines[:most]]


def load_arrays(files: Sequence[Path], name: str, sessions: int) -> np.ndarray:
    """Read one array of the shards, its first two axes (session, picture) made one."""
    parts, found = [], 0
    for file in files:
        if found < sessions:
            with np.load(file) as data:
                parts.append(data[name])
            found += len(parts[-1])
    array = np.concatenate(parts)[:sessions]
    return array.reshape(-1, *array.shape[2:])


@torch.no_grad()
def prepare_pictures(pipeline: QwenImageEditPlusPipeline, folder: Path, most: int | None = None) -> Pictures:
    """Read the shards of ``edit_pairs.py`` and encode their pictures; with several cards each its own share."""
    files, rows = read_sessions(folder, most)
    device = parallel.device()
    # A copy: what makes encoding fast would leave the autoencoder without what a single frame does not need.
    vae = copy.deepcopy(pipeline.vae).to(device).float()
    flatten_convolutions(vae)
    mean = torch.tensor(vae.config.latents_mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(vae.config.latents_std, device=device).view(1, -1, 1, 1)
    pictures = torch.from_numpy(load_arrays(files, "pictures", len(rows)))
    latents = torch.cat([((encode(vae, part) - mean) / std).bfloat16() for part in pictures.split(1024)])
    boxes = torch.from_numpy(load_arrays(files, "face_boxes", len(rows)))
    return Pictures(
        latents=latents,
        small=load_arrays(files, "small", len(rows)),
        weights=token_weights(boxes, (int(latents.shape[2]), int(latents.shape[3]))).to(device, torch.bfloat16),
        rows=rows,
    )


def token_weights(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weight the tokens N×L whose centre lies in one of two faces, N×2×4, by ``FACE_WEIGHT``, with mean 1."""
    rows, columns = shape[0] // 2, shape[1] // 2
    y = ((torch.arange(rows) + 0.5) / rows).view(1, 1, rows, 1)
    x = ((torch.arange(columns) + 0.5) / columns).view(1, 1, 1, columns)
    x0, y0, x1, y1 = (boxes[:, :, side].view(len(boxes), 2, 1, 1) for side in range(4))
    inside = ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any(1)
    weights = (1 + (FACE_WEIGHT - 1) * inside.float()).flatten(1)
    return weights / weights.mean(1, keepdim=True)


@torch.no_grad()
def prepare_edits(pipeline: QwenImageEditPlusPipeline, pictures: Pictures) -> list[EditGroup]:
    """Encode all instructions of the sessions' edits with their pictures; groups by the number of references."""
    edits = [(3 * place, edit) for place, row in enumerate(pictures.rows) for edit in row["edits"]]
    groups = []
    for images in (1, 2):
        chosen = [(first, edit) for first, edit in edits if len(edit["references"]) == images]
        if chosen:
            groups.append(_prepare_group(pipeline, pictures, chosen, images))
    return groups


def _prepare_group(
    pipeline: QwenImageEditPlusPipeline, pictures: Pictures, edits: Sequence[tuple[int, dict[str, Any]]], images: int
) -> EditGroup:
    device = parallel.device()
    references = torch.tensor([[first + place for place in edit["references"]] for first, edit in edits])
    targets = torch.tensor([first + edit["target"] for first, edit in edits])
    variants = len(edits[0][1]["instructions"])
    texts = [text for _, edit in edits for text in edit["instructions"]] + [EMPTY_INSTRUCTION] * len(edits)
    of_edit = torch.cat([torch.arange(len(edits)).repeat_interleave(variants), torch.arange(len(edits))])
    kinds = [edit["kind"] for _, edit in edits]
    odds = torch.tensor([SHARES.get(kind, 1.0) / kinds.count(kind) for kind in kinds])
    encoder = EditEncoder(pipeline).to(device).eval()
    longest = max(len(ids) for ids in pipeline.tokenizer(sorted(set(texts))).input_ids)
    template = len(build_form(pipeline, [""], images).tokens.ids[0])
    # A multiple of eight after the template's dropped tokens, as fast attention with a mask wants it.
    drop = pipeline.prompt_template_encode_start_idx
    length = drop + math.ceil((template + longest - drop) / 8) * 8
    states, masks = [], []
    for start in range(0, len(texts), ENCODED_AT_ONCE):
        rows = of_edit[start : start + ENCODED_AT_ONCE]
        form = build_form(pipeline, texts[start : start + ENCODED_AT_ONCE], images, length)
        small = torch.from_numpy(pictures.small[references[rows].numpy()]).to(device)
        encoded, mask = encoder(form, torch.arange(len(rows), device=device), small)
        states.append(encoded.bfloat16())
        masks.append(mask.bool())
    return EditGroup(
        references=references.to(device),
        targets=targets.to(device),
        odds=odds.to(device),
        states=torch.cat(states),
        mask=torch.cat(masks),
        variants=variants,
    )


def reference_tokens(pictures: Pictures, group: EditGroup, rows: Tensor) -> Tensor:
    """Return the references' clean tokens N×(R·L)×64, float32."""
    latents = pictures.latents[group.references[rows]]
    return pack(latents.flatten(0, 1)).view(len(rows), -1, 64).float()
