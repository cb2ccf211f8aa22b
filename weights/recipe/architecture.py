"""The miniature's architecture: Qwen-Image-2512's own classes and configuration, with small numbers.

Every part is the class that the full-size folder names, so the code that loads and runs the one loads and runs the
other. The VAE's compression (8 ×, 16 channels), the transformer's patch (2 × 2) and the scheduler's numbers are the
production ones; depth and width are not.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

TEXT_WIDTH = 192
VOCABULARY_SIZE = 2048
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# The pipelines drop a fixed number of template tokens (34 for text to image, 64 for editing), counted with the
# production vocabulary, in which each of these words is one token. It has to be so here too.
TEMPLATE_WORDS = (
    "system\nDescribe the image\nuser\nassistant\n Describe the image by detailing the color, shape, size, texture, "
    "quantity, text, spatial relationships of the objects and background: Describe the key features of the input image "
    "(color, shape, size, texture, objects, background), then explain how the user's text instruction should alter or "
    "modify the image. Generate a new image that meets the user's requirements while maintaining consistency with the "
    "original input where appropriate. Picture 1: 2: 3: 4:"
)


def build_vae() -> AutoencoderKLQwenImage:
    """Build the autoencoder: 2.6 M parameters; pictures N×3×1×H×W in −1..1 to latents N×16×1×H/8×W/8."""
    return AutoencoderKLQwenImage(base_dim=16, num_res_blocks=1)


def build_transformer(*, zero_cond_t: bool = False) -> QwenImageTransformer2DModel:
    """Build the denoiser: 8.2 M parameters in six double-stream blocks of width 192.

    With ``zero_cond_t``, as Qwen-Image-Edit-2511 has it, the tokens of pictures that are handed in count as free of
    noise. It adds no parameters.
    """
    return QwenImageTransformer2DModel(
        zero_cond_t=zero_cond_t,
        num_layers=6,
        num_attention_heads=3,
        attention_head_dim=64,
        joint_attention_dim=TEXT_WIDTH,
        axes_dims_rope=(16, 24, 24),
    )


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Build the scheduler with the numbers of Qwen-Image-2512's ``scheduler_config.json``."""
    return FlowMatchEulerDiscreteScheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=8192,
        max_shift=0.9,
        shift=1.0,
        shift_terminal=0.02,
        time_shift_type="exponential",
        use_dynamic_shifting=True,
    )


def build_tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    """Train a byte-level BPE vocabulary in which every word of ``texts`` and of the templates is few tokens."""
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trained.decoder = decoders.ByteLevel()
    corpus = [*texts, *[TEMPLATE_WORDS] * 200]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    trained.train_from_iterator(corpus, trainer)
    vocabulary, merges = _bpe_model(trained)
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="right",
    )


def build_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """Build the text encoder: three causal layers of width 192, and a vision tower small enough to carry along."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 512,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "out_hidden_size": TEXT_WIDTH,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def build_pipeline(seed: int, texts: Iterable[str]) -> QwenImagePipeline:
    """Build the whole pipeline with random weights; ``texts`` are sample captions for the vocabulary."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(texts)
    return QwenImagePipeline(
        scheduler=build_scheduler(),
        vae=build_vae(),
        text_encoder=build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        transformer=build_transformer(),
    )


def build_processor(tokenizer: Qwen2Tokenizer) -> Qwen2VLProcessor:
    """Build what brings pictures and words to the text encoder: patches of 14 pixels, four of them a token."""
    own = copy.deepcopy(tokenizer)
    # A tokenizer keeps how it last padded, and a processor would hand that to each call.
    for name in ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of"):
        own.init_kwargs.pop(name, None)
    own.backend_tokenizer.no_truncation()
    own.backend_tokenizer.no_padding()
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=own,
        video_processor=Qwen2VLVideoProcessor(),
    )


def build_edit_pipeline(seed: int, texts: Iterable[str]) -> QwenImageEditPlusPipeline:
    """Build an edit pipeline with random weights, in the classes of Qwen-Image-Edit-2511."""
    parts = build_pipeline(seed, texts)
    return QwenImageEditPlusPipeline(
        scheduler=parts.scheduler,
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        processor=build_processor(parts.tokenizer),
        transformer=build_transformer(zero_cond_t=True),
    )


def save(pipeline: QwenImagePipeline | QwenImageEditPlusPipeline, folder: Path) -> None:
    """Write the pipeline in diffusers' folder format, weights as fp16 safetensors, without a trace of where it lay."""
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)


def _bpe_model(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Answer the vocabulary and the merges that a trained tokenizer holds."""
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]
