#!/usr/bin/env bash
# Train the miniature from nothing, on the cards of this machine: pictures, autoencoder, denoiser, fast LoRA, a sheet.
# Its budgets add up to about 25 minutes on two H100 with 32 cores. Run it in the repository's root: weights/recipe/train.sh [BUILD_FOLDER]
set -euo pipefail

build=${1:-build/miniature}
cards=$(python3 -c 'import torch; print(max(1, torch.cuda.device_count()))')
cores=$(nproc)
train=(python3 -m torch.distributed.run --standalone --nproc-per-node "$cards" -m weights.recipe.train)
mkdir -p "$build/drawn"
export PYTHONUNBUFFERED=1

# The first pictures are enough for the autoencoder; the rest are drawn while it trains.
OMP_NUM_THREADS=1 python3 -m weights.recipe.draw --out "$build/drawn/first" --count 9000 --aspects 0.15 --seed 1 \
    --workers "$cores"
OMP_NUM_THREADS=1 python3 -m weights.recipe.draw --out "$build/drawn/rest" --count 26000 --aspects 0.25 --seed 2 \
    --workers "$((cores > 6 ? cores - 6 : 1))" >"$build/draw.log" &
drawing=$!
# To go on from an autoencoder that is there already: --warm-from FOLDER, and fewer seconds.
"${train[@]}" vae --data "$build/drawn/first" --work "$build/work" --seconds 240
wait "$drawing"
"${train[@]}" denoiser --data "$build/drawn" --work "$build/work" --seconds 840
python3 -m weights.recipe.train export --work "$build/work" --out "$build/out"
"${train[@]}" distil --data "$build/drawn/first" --out "$build/out" --seconds 110
python3 -m weights.recipe.train sheet --out "$build/out" --file "$build/sheet.png"
