"""Single frames through Qwen-Image's video autoencoder, in both directions.

``AutoencoderKLQwenImage`` is the Wan 2.1 video autoencoder (github.com/Wan-Video/Wan2.1) and treats a picture as a film
of one frame. Its convolutions are causal in time: before the first frame they see zeros only. A 3×3×3 convolution over
one frame is therefore a 3×3 convolution with the kernel's last temporal slice, and the temporal resampling does not run
at all. :class:`FrameDecoder` and :class:`FrameEncoder` keep just that: a third of the multiplications and none of the
frame cache.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    QwenImageAttentionBlock,
    QwenImageCausalConv3d,
    QwenImageResample,
    QwenImageResidualBlock,
    QwenImageRMS_norm,
)
from torch import Tensor, nn


class FrameDecoder(nn.Module):
    """The decoder of an ``AutoencoderKLQwenImage`` for single frames, with the same result up to rounding.

    The weights are copied from ``vae``, which stays as it is. The copy has the device and dtype of ``vae`` at the time.
    """

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        """Copy the weights that a single frame needs from ``vae``."""
        super().__init__()
        decoder = vae.decoder
        layers: list[nn.Module] = [planar_convolution(vae.post_quant_conv), planar_convolution(decoder.conv_in)]
        layers += [_Residual(decoder.mid_block.resnets[0])]
        for attention, residual in zip(decoder.mid_block.attentions, decoder.mid_block.resnets[1:], strict=True):
            layers += [_Attention(attention), _Residual(residual)]
        for block in decoder.up_blocks:
            layers += [_Residual(residual) for residual in block.resnets]
            layers += [_upsampling(upsampler) for upsampler in block.upsamplers or ()]
        layers += [_Norm(decoder.norm_out), decoder.nonlinearity, planar_convolution(decoder.conv_out)]
        self.layers = nn.Sequential(*layers).eval().requires_grad_(False)
        # Channels last halves the time on a CPU, and is what a GPU's convolutions want.
        self.layers.to(memory_format=torch.channels_last)
        self.scale: int = vae.spatial_compression_ratio
        """Pixels to a latent, along each side."""
        shape = (1, vae.config.z_dim, 1, 1)
        self.mean = nn.Parameter(torch.tensor(vae.config.latents_mean).view(shape).to(vae.device, vae.dtype), False)
        self.std = nn.Parameter(torch.tensor(vae.config.latents_std).view(shape).to(vae.device, vae.dtype), False)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode normalised latents N×16×h×w into pixels N×3×8h×8w, in the decoder's dtype and about −1..1."""
        latents = latents.to(self.std.dtype) * self.std + self.mean
        pixels: Tensor = self.layers(latents.contiguous(memory_format=torch.channels_last))
        return pixels


class FrameEncoder(nn.Module):
    """The encoder of an ``AutoencoderKLQwenImage`` for single frames, with the same result up to rounding.

    The weights are copied from ``vae``, which stays as it is. The copy has the device and dtype of ``vae`` at the time.
    """

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        """Copy the weights that a single frame needs from ``vae``."""
        super().__init__()
        encoder = vae.encoder
        layers: list[nn.Module] = [planar_convolution(encoder.conv_in)]
        for block in (*encoder.down_blocks, encoder.mid_block.resnets[0]):
            layers += [_encoding(block)]
        for attention, residual in zip(encoder.mid_block.attentions, encoder.mid_block.resnets[1:], strict=True):
            layers += [_Attention(attention), _Residual(residual)]
        layers += [_Norm(encoder.norm_out), encoder.nonlinearity, planar_convolution(encoder.conv_out)]
        self.layers = nn.Sequential(*layers, planar_convolution(vae.quant_conv)).eval().requires_grad_(False)
        self.layers.to(memory_format=torch.channels_last)
        self.channels: int = vae.config.z_dim
        shape = (1, self.channels, 1, 1)
        self.mean = nn.Parameter(torch.tensor(vae.config.latents_mean).view(shape).to(vae.device, vae.dtype), False)
        self.std = nn.Parameter(torch.tensor(vae.config.latents_std).view(shape).to(vae.device, vae.dtype), False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels N×3×8h×8w, −1..1, into normalised latents N×16×h×w: the mean of the distribution."""
        pixels = pixels.to(self.std.device, self.std.dtype).contiguous(memory_format=torch.channels_last)
        # The distribution's mean comes first, its logarithm of the variance second.
        mean: Tensor = self.layers(pixels)[:, : self.channels]
        return (mean - self.mean) / self.std


class _Norm(nn.Module):
    """RMS norm over the channels of N×C×H×W."""

    def __init__(self, norm: QwenImageRMS_norm) -> None:
        super().__init__()
        self.gamma = nn.Parameter(norm.gamma.detach().reshape(-1, 1, 1) * norm.scale)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x.float(), dim=1).to(x.dtype) * self.gamma


class _Residual(nn.Module):
    """Two rounds of norm, activation and convolution, added to the input."""

    def __init__(self, block: QwenImageResidualBlock) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _Norm(block.norm1),
            block.nonlinearity,
            planar_convolution(block.conv1),
            _Norm(block.norm2),
            block.nonlinearity,
            planar_convolution(block.conv2),
        )
        shortcut = block.conv_shortcut
        self.shortcut = planar_convolution(shortcut) if isinstance(shortcut, QwenImageCausalConv3d) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.shortcut(x) + self.branch(x)
        return summed


class _Attention(nn.Module):
    """Single-head self-attention over all places of N×C×H×W."""

    def __init__(self, block: QwenImageAttentionBlock) -> None:
        super().__init__()
        self.norm = _Norm(block.norm)
        self.to_qkv = copy.deepcopy(block.to_qkv)
        self.proj = copy.deepcopy(block.proj)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1)
        query, key, value = qkv.contiguous().chunk(3, dim=-1)
        attended = F.scaled_dot_product_attention(query, key, value)
        summed: Tensor = x + self.proj(attended.squeeze(1).transpose(1, 2).reshape(x.shape))
        return summed


def _encoding(block: nn.Module) -> nn.Module:
    if isinstance(block, QwenImageResidualBlock):
        return _Residual(block)
    if isinstance(block, QwenImageAttentionBlock):
        return _Attention(block)
    # The first frame of a film is not halved in time either.
    return copy.deepcopy(block.get_submodule("resample"))


def _upsampling(block: QwenImageResample) -> nn.Module:
    # The first frame of a film is not doubled in time, so only the spatial half of the block acts.
    spatial: nn.Module = copy.deepcopy(block.resample)
    return spatial


def planar_convolution(causal: QwenImageCausalConv3d) -> nn.Conv2d:
    """Copy what a causal convolution does to a single frame: its last temporal slice, N×C×H×W to N×C'×H'×W'."""
    kernel = causal.weight.detach()[:, :, -1].clone(memory_format=torch.contiguous_format)
    planar = nn.Conv2d(
        causal.in_channels,
        causal.out_channels,
        causal.kernel_size[1:],
        stride=causal.stride[1:],
        # diffusers keeps the causal padding as (left, right, top, bottom, before, after) beside the convolution's own.
        padding=(causal._padding[2], causal._padding[0]),
        device=kernel.device,
        dtype=kernel.dtype,
    )
    planar.weight = nn.Parameter(kernel)
    planar.bias = nn.Parameter(causal.bias.detach().clone())
    return planar
