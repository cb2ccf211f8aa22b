"""The transformer that edits, for batches of one shape: equal to its own forward, and free of everything that changes
from call to call, so that nothing but launches is left to do between two steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.transformers import transformer_qwenimage
from torch import Tensor, nn

from weights.recipe.train_denoiser import rotate

_rotate_complex = transformer_qwenimage.apply_rotary_emb_qwen


def rotate_any(x: Tensor, frequencies: Tensor, use_real: bool = False) -> Tensor:
    """Rotate by complex frequencies as diffusers does, by real ones (L×D/2×2) as `train_denoiser.rotate` does."""
    if frequencies.is_complex():
        rotated: Tensor = _rotate_complex(x, frequencies, use_real=use_real)
        return rotated
    return rotate(x, frequencies)


class EditTransformer(nn.Module):
    """``QwenImageTransformer2DModel`` with ``zero_cond_t``, for results and references of one shape."""

    image_frequencies: Tensor
    text_frequencies: Tensor
    is_reference: Tensor

    def __init__(
        self, transformer: QwenImageTransformer2DModel, *, shape: tuple[int, int], references: int, text_tokens: int
    ) -> None:
        """Work with the weights of ``transformer``, which stay where they are.

        Args:
            transformer: one with ``zero_cond_t``.
            shape: height and width of the latents of the result and of each reference.
            references: how many there are.
            text_tokens: the length that prompts are padded to.
        """
        super().__init__()
        # The compiler has no kernels for complex numbers.
        transformer_qwenimage.apply_rotary_emb_qwen = rotate_any
        self.transformer = transformer
        rows, columns = shape[0] // 2, shape[1] // 2
        self.tokens = rows * columns
        shapes = [(1, rows, columns)] * (1 + references)
        device = next(transformer.parameters()).device
        image, text = transformer.pos_embed([shapes], max_txt_seq_len=text_tokens, device=torch.device("cpu"))
        index = torch.cat([torch.zeros(self.tokens), torch.ones(self.tokens * references)])[None].int()
        self.register_buffer("image_frequencies", torch.view_as_real(image).to(device), persistent=False)
        self.register_buffer("text_frequencies", torch.view_as_real(text).to(device), persistent=False)
        self.register_buffer("is_reference", index.to(device), persistent=False)

    def forward(self, x: Tensor, references: Tensor, sigma: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """One forward.

        Args:
            x: noisy tokens N×L×64.
            references: clean tokens N×(R·L)×64.
            sigma: noise levels N, 0–1.
            states: text states N×T×width.
            mask: N×T, 1 or True where a token is.

        Returns:
            The velocity N×L×64.
        """
        model = self.transformer
        hidden = model.img_in(torch.cat([x, references], dim=1))
        text = model.txt_in(model.txt_norm(states))
        # Not in half precision, as the transformer's own forward has it under autocast: levels would be 0.004 apart.
        embedding = model.time_text_embed(torch.cat([sigma, torch.zeros_like(sigma)]), hidden, None)
        kept = mask.bool()
        for block in model.transformer_blocks:
            text, hidden = block(
                hidden_states=hidden,
                encoder_hidden_states=text,
                encoder_hidden_states_mask=kept,
                temb=embedding,
                image_rotary_emb=(self.image_frequencies, self.text_frequencies),
                joint_attention_kwargs=None,
                modulate_index=self.is_reference,
            )
        # The references' own prediction is nobody's.
        hidden = model.norm_out(hidden[:, : self.tokens], embedding.chunk(2)[0])
        velocity: Tensor = model.proj_out(hidden)
        return velocity


def compile_transformer(transformer: QwenImageTransformer2DModel) -> None:
    """Compile the blocks: one graph for each number of references, used by all six."""
    torch._dynamo.config.cache_size_limit = 64
    transformer_qwenimage.apply_rotary_emb_qwen = rotate_any
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)


def walk(
    model: EditTransformer,
    x: Tensor,
    references: Tensor,
    positive: tuple[Tensor, Tensor],
    negative: tuple[Tensor, Tensor] | None,
    *,
    scale: float,
    levels: Sequence[float],
    record: Sequence[float] = (),
) -> tuple[Tensor, list[Tensor]]:
    """Euler from tokens ``x`` down ``levels``, guided as the service does it; also the states at the levels ``record``.

    An Euler path is a straight line between two levels, so a state between them is exact. ``positive`` and
    ``negative`` are states and mask.
    """
    kept = []
    for now, after in itertools.pairwise(levels):
        sigma = torch.full((len(x),), now, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
            velocity = model(x, references, sigma, *positive).float()
            if negative is not None:
                away = model(x, references, sigma, *negative).float()
                combined = away + scale * (velocity - away)
                velocity = combined * (velocity.norm(dim=-1, keepdim=True) / combined.norm(dim=-1, keepdim=True))
        kept += [x + (level - now) * velocity for level in record if after < level <= now]
        x = x + (after - now) * velocity
    return x, kept
