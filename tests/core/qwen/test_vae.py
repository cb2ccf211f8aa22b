from __future__ import annotations

import copy

import torch

from core.qwen.loading import QwenImageModel
from core.qwen.vae import FrameDecoder, FrameEncoder


@torch.inference_mode()
def test_single_frame_decoding_equals_the_film_decoder(model: QwenImageModel) -> None:
    vae = model.pipeline.vae
    latents = torch.randn(2, 16, 12, 20, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor(vae.config.latents_mean).view(1, 16, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, 16, 1, 1, 1)
    expected = vae.decode(latents[:, :, None] * std + mean, return_dict=False)[0][:, :, 0]
    decoded = model.decoder(latents)
    assert decoded.shape == (2, 3, 96, 160)
    assert (decoded.clamp(-1, 1) - expected).abs().max() < 1e-5


def test_the_pipelines_own_autoencoder_stays_as_it_is(model: QwenImageModel) -> None:
    vae = copy.deepcopy(model.pipeline.vae)
    before = {name: (tensor.clone(), tensor.stride()) for name, tensor in vae.state_dict().items()}
    assert all(parameter.requires_grad for parameter in vae.parameters())
    decoder = FrameDecoder(vae)
    assert all(parameter.requires_grad for parameter in vae.parameters())
    for name, tensor in vae.state_dict().items():
        assert torch.equal(tensor, before[name][0])
        assert tensor.stride() == before[name][1]
    assert not any(parameter.requires_grad for parameter in decoder.parameters())


@torch.inference_mode()
def test_single_frame_encoding_equals_the_film_encoder(model: QwenImageModel) -> None:
    vae = model.pipeline.vae
    pixels = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean = torch.tensor(vae.config.latents_mean).view(1, 16, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, 16, 1, 1)
    expected = (vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0] - mean) / std
    encoded = FrameEncoder(vae)(pixels)
    assert encoded.shape == (2, 16, 12, 20)
    assert (encoded - expected).abs().max() < 1e-5
