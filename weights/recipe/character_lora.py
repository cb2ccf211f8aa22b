"""Train the example LoRA: one invented person, from twelve drawn pictures, into the miniature.

    python -m weights.recipe.character_lora --out examples/loras/milena.safetensors

What everybody does with ten photos of a character, in small: the captions name what changes from picture to picture
(place, clothes), so that what stays the same goes to the trigger word.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import QwenImagePipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from weights.recipe.draw import Picture, draw, face_box
from weights.recipe.learner import Learner
from weights.recipe.people import CLOTHES_COLOURS, EXPRESSIONS, GEOMETRY, SCENES, Person, Shot
from weights.recipe.prompts import embed, tokenize
from weights.recipe.sampling import Condition, pack, velocity
from weights.recipe.train_denoiser import SIGMA_MEAN, SIGMA_SPREAD, face_weights
from weights.recipe.train_vae import encode

TRIGGER_WORD = "milena woman"
RANK = 8
# Of the picture's own stream alone: with the text's it would be twice the file, and no more alike.
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "img_mlp.net.2"]
PICTURES = 12
LEARNING_RATE = 2e-3
PLACES = {
    "cafe": "in a café",
    "beach": "on the beach",
    "street": "on the street",
    "studio": "in a studio",
    "garden": "in a garden",
    "library": "in a library",
    "kitchen": "in a kitchen",
    "mountains": "in the mountains",
    "night city": "in a city at night",
    "office": "in an office",
}
MILENA = Person(
    gender="woman",
    age="young",
    skin=0.12,
    skin_warmth=0.2,
    hair_colour="red",
    hair_tone=0.3,
    hair_style="curly",
    fringe=False,
    parting=-0.3,
    eye_colour="green",
    glasses="none",
    glasses_colour="black",
    beard="none",
    freckles=True,
    wrinkles=0.0,
    seed=12,
    **dict.fromkeys(GEOMETRY, 0.0),
)


def shot(index: int) -> Shot:
    """Picture ``index`` of the person: every one with a place, clothes and a look of its own."""
    rng = np.random.default_rng((12, index))
    colours = tuple(CLOTHES_COLOURS)
    return Shot(
        scene=SCENES[index % len(SCENES)],
        clothes=("t-shirt", "shirt", "sweater", "blazer")[index % 4],
        clothes_colour=colours[index % len(colours)],
        framing="head shot",
        yaw=float(rng.uniform(-14, 14)),
        pitch=float(rng.uniform(-5, 5)),
        roll=float(rng.uniform(-4, 4)),
        expression=EXPRESSIONS[index % len(EXPRESSIONS)],
        light_x=float(rng.uniform(-1, 1)),
        light_y=float(rng.uniform(0.25, 0.9)),
        warmth=float(rng.uniform(-1, 1)),
        x=float(rng.uniform(-0.5, 0.5)),
        y=float(rng.uniform(-0.5, 0.5)),
        zoom=float(rng.uniform(0, 1)),
        seed=index,
    )


def caption(taken: Shot) -> str:
    """The words for a picture: the trigger word, and what is not the person's own."""
    return f"{TRIGGER_WORD} {PLACES[taken.scene]}, {taken.clothes_colour} {taken.clothes}"


def pictures() -> list[Picture]:
    """Draw the twelve pictures, 256×256×3 uint8 RGB."""
    return [draw(MILENA, shot(index)) for index in range(PICTURES)]


def train(pipeline: QwenImagePipeline, steps: int, batch: int, seed: int) -> dict[str, Tensor]:
    """Train the LoRA by flow matching, and answer its weights by diffusers key, fp16; alpha equals the rank."""
    torch.manual_seed(seed)
    shots = [shot(index) for index in range(PICTURES)]
    statistics = (pipeline.vae.config.latents_mean, pipeline.vae.config.latents_std)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in statistics)
    latents = (encode(pipeline.vae, torch.from_numpy(np.stack(pictures()))) - mean) / std
    shape = (latents.shape[2], latents.shape[3])
    weights = face_weights(torch.tensor([face_box(MILENA, taken) for taken in shots]), shape)
    x0_all = pack(latents)
    with torch.no_grad():
        tokens = tokenize(pipeline, [caption(taken) for taken in shots])
        embeddings, mask = embed(pipeline.text_encoder, tokens, pipeline.prompt_template_encode_start_idx)
    transformer = pipeline.transformer.requires_grad_(False)
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS), "character")
    learner = Learner([p for p in transformer.parameters() if p.requires_grad], beta2=0.98)
    for step in range(steps):
        rows = torch.randint(PICTURES, (batch,))
        x0 = x0_all[rows]
        sigma = torch.sigmoid(SIGMA_SPREAD * torch.randn(batch) + SIGMA_MEAN)
        noise = torch.randn_like(x0)
        noisy = x0 + sigma.view(-1, 1, 1) * (noise - x0)
        predicted = velocity(transformer, noisy, sigma, Condition(embeddings[rows], mask[rows]), shape)
        loss = ((predicted - (noise - x0)).pow(2).mean(-1) * weights[rows]).mean()
        rate = LEARNING_RATE * min(1.0, (step + 1) / 20) * max(0.02, 1 - step / steps)
        learner.step(loss, rate=rate, average=max(0.03, 1 / (step + 1)))
        if step % 25 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
    learner.keep_average()
    trained = get_peft_model_state_dict(transformer, adapter_name="character")
    return {f"transformer.{key}": value.half().contiguous() for key, value in trained.items()}


def main() -> None:
    """Draw, train, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("weights/miniature"), help="the miniature's folder")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--sheet", type=Path, help="also write the drawn pictures side by side here")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.sheet:
        rows = [np.hstack(pictures()[start : start + 6]) for start in range(0, PICTURES, 6)]
        cv2.imwrite(str(arguments.sheet), np.vstack(rows)[..., ::-1])
    pipeline = QwenImagePipeline.from_pretrained(arguments.weights, torch_dtype=torch.float32)
    lora = train(pipeline, arguments.steps, arguments.batch, arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(lora, arguments.out, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
