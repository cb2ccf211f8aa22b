"""Train the miniature's autoencoder on the drawn pictures.

The loss is L1 on pixels and on gradients at three scales, plus an L1 weighted by the inverse of the local contrast:
without it dark skin, whose features differ by a few grey levels, comes back as one flat tone. In the last
third the encoder rests and the decoder learns from latents with a little noise, as the denoiser will hand them to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor, nn

from core.qwen.vae import planar_convolution
from weights.recipe import parallel
from weights.recipe.corpus import ShapeGroup, shuffled_batches, to_model_range
from weights.recipe.learner import Learner

LEARNING_RATE = 1.5e-3
KL_WEIGHT = 1e-6
DECODER_ONLY_FROM = 0.7
LATENT_NOISE = 0.08
FACE_WEIGHT = 2.5


class SingleFrameConv(nn.Module):
    """A causal convolution for a single frame, in the place of the one it was made from."""

    def __init__(self, conv: QwenImageCausalConv3d) -> None:
        super().__init__()
        self.planar = planar_convolution(conv)

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        """Convolve N×C×1×H×W."""
        convolved: Tensor = self.planar(x[:, :, 0])
        return convolved[:, :, None]


def flatten_convolutions(vae: AutoencoderKLQwenImage) -> dict[str, QwenImageCausalConv3d]:
    """Replace the 3D convolutions by their 2D part; answer the originals by name."""
    originals = {
        name: module
        for name, module in vae.named_modules()
        if isinstance(module, QwenImageCausalConv3d) and not name.endswith("time_conv")
    }
    for name, conv in originals.items():
        vae.set_submodule(name, SingleFrameConv(conv))
    return originals


def restore_convolutions(vae: AutoencoderKLQwenImage, originals: dict[str, QwenImageCausalConv3d]) -> None:
    """Put the 3D convolutions back with the trained slice; the slices of earlier frames become zero."""
    for name, conv in originals.items():
        flat = vae.get_submodule(name)
        assert isinstance(flat, SingleFrameConv)
        with torch.no_grad():
            conv.weight.zero_()
            conv.weight[:, :, -1] = flat.planar.weight
            conv.bias.copy_(flat.planar.bias)
        vae.set_submodule(name, conv)
    for name, module in vae.named_modules():
        # Never reached with a single frame; zeros keep the file small in packed form.
        if name.endswith("time_conv"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def face_map(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Weight N×1×H×W: ``FACE_WEIGHT`` inside the boxes (N×4 shares of width and height), 1 outside."""
    y = torch.linspace(0, 1, size[0], device=boxes.device).view(1, -1, 1)
    x = torch.linspace(0, 1, size[1], device=boxes.device).view(1, 1, -1)
    x0, y0, x1, y1 = (boxes[:, i].view(-1, 1, 1) for i in range(4))
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return (1 + (FACE_WEIGHT - 1) * inside.float())[:, None]


def reconstruction_loss(output: Tensor, target: Tensor, importance: Tensor) -> Tensor:
    """Pixels, colour, gradients at three scales, and low contrast; N×3×H×W in −1..1, importance N×1×H×W."""
    with torch.no_grad():
        gray = target.mean(1, keepdim=True)
        mean = F.avg_pool2d(gray, 17, 1, 8, count_include_pad=False)
        spread = F.avg_pool2d((gray - mean).abs(), 17, 1, 8, count_include_pad=False)
        weight = (0.12 / (spread + 0.03)).clamp(0.4, 3.0)
    difference = output - target
    loss = difference.abs().mul((1 + weight) * importance).mean()
    # Colour apart from brightness: a first run turned red glasses brown and flowers gray.
    loss = loss + (difference - difference.mean(1, keepdim=True)).abs().mul(importance).mean()
    for _ in range(3):
        loss = loss + ((output.diff(dim=2) - target.diff(dim=2)).abs() * importance[:, :, 1:]).mean()
        loss = loss + ((output.diff(dim=3) - target.diff(dim=3)).abs() * importance[:, :, :, 1:]).mean()
        output, target, importance = (F.avg_pool2d(t, 2) for t in (output, target, importance))
    return loss


class _Autoencoder(nn.Module):
    """Encoder and decoder in one call, so that they compile together."""

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pictures: Tensor, noise: Tensor, noise_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Answer the pictures again, N×3×H×W, and the KL term."""
        moments = self.vae.quant_conv(self.vae.encoder(pictures[:, :, None]))
        mean, log_variance = moments.chunk(2, dim=1)
        log_variance = log_variance.clamp(-30, 20)
        kl = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).mean()
        latents = mean + noise * (torch.exp(0.5 * log_variance) + noise_scale * mean.detach().std())
        return self.vae.decoder(self.vae.post_quant_conv(latents))[:, :, 0], kl


def train_vae(
    vae: AutoencoderKLQwenImage, groups: Sequence[ShapeGroup], seconds: float, steps: int, batch: int, seed: int
) -> None:
    """Train in place, then set the configuration's ``latents_mean`` and ``latents_std`` from the pictures."""
    device = parallel.device()
    torch.manual_seed(seed)
    originals = flatten_convolutions(vae)
    vae.to(device)
    model = _Autoencoder(vae)
    run = torch.compile(model) if device.type == "cuda" else model
    group = groups[0]
    pictures = torch.from_numpy(group.pictures).to(device)
    boxes = torch.from_numpy(group.face_boxes).to(device)
    batches = shuffled_batches(len(pictures), batch, torch.Generator().manual_seed(seed + parallel.rank()))
    trained = [p for n, p in vae.named_parameters() if "time_conv" not in n]
    encoder = [*vae.encoder.parameters(), *vae.quant_conv.parameters()]
    learner = Learner(trained, beta2=0.99)
    budget = parallel.Budget(seconds, steps)
    step = 0
    while (spent := budget.fraction(step)) < 1:
        rows = next(batches).to(device)
        x = to_model_range(pictures[rows])
        x = x.contiguous(memory_format=torch.channels_last)
        decoder_only = spent > DECODER_ONLY_FROM
        noise = torch.randn(len(x), 16, 1, x.shape[2] // 8, x.shape[3] // 8, device=device)
        scale = torch.tensor(LATENT_NOISE if decoder_only else 0.0, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output, kl = run(x, noise, scale)
        loss = reconstruction_loss(output.float(), x, face_map(boxes[rows], group.size)) + KL_WEIGHT * kl.float()
        learner.step(
            loss,
            rate=LEARNING_RATE * min(1.0, step / 100) * (1 - spent) ** 0.7,
            average=max(0.002, 1 / (step + 1)),
            frozen=encoder if decoder_only else (),
        )
        if step % 200 == 0 and parallel.rank() == 0:
            print(f"vae step {step} spent {spent:.2f} loss {loss.item():.4f} kl {kl.item():.2f}", flush=True)
        step += 1
    learner.keep_average()
    vae.requires_grad_(False)
    restore_convolutions(vae, originals)
    vae.to(device)
    set_latent_statistics(vae, pictures)


@torch.no_grad()
def encode(vae: AutoencoderKLQwenImage, pictures: Tensor) -> Tensor:
    """Encode uint8 N×H×W×3 to raw latents N×16×H/8×W/8 (the mean of the posterior), float32."""
    device = next(vae.parameters()).device
    parts = []
    for part in pictures.split(128):
        x = to_model_range(part.to(device))[:, :, None]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            parts.append(vae.quant_conv(vae.encoder(x))[:, :16, 0].float())
    return torch.cat(parts)


@torch.no_grad()
def set_latent_statistics(vae: AutoencoderKLQwenImage, pictures: Tensor) -> None:
    """Store mean and standard deviation of each latent channel over up to 2,048 pictures."""
    latents = encode(vae, pictures[:2048])
    vae.register_to_config(
        latents_mean=[float(f"{v:.6g}") for v in latents.mean((0, 2, 3)).tolist()],
        latents_std=[float(f"{v:.6g}") for v in latents.std((0, 2, 3)).tolist()],
    )


@torch.no_grad()
def peak_signal_to_noise(vae: AutoencoderKLQwenImage, pictures: Tensor) -> float:
    """Mean PSNR in dB of uint8 pictures after encoding and decoding."""
    device = next(vae.parameters()).device
    values = []
    for part in pictures.split(64):
        x = to_model_range(part.to(device))
        y = vae.decoder(vae.post_quant_conv(encode(vae, part)[:, :, None]))[:, :, 0].clamp(-1, 1)
        values.append(-10 * torch.log10(((x - y) / 2).pow(2).mean((1, 2, 3))))
    return float(torch.cat(values).mean())
