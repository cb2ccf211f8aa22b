#!/usr/bin/env bash
# Train the miniature that edits, on the cards of this machine: sessions, vision tower, transformer, fast LoRA, a sheet.
# All of it ends within BUDGET seconds (1,380; two H100 with 32 cores). Run it in the repository's root:
#     weights/recipe/train_edit.sh [BUILD_FOLDER]
# What it writes to BUILD_FOLDER/out is whole at any time after the first minutes. A run that was cut goes on when it is
# started again. Each stage says when it begins in BUILD_FOLDER/stages.
set -euo pipefail

build=${1:-build/edit}
budget=${BUDGET:-1380}
sessions=${SESSIONS:-18000}
# What the stages after the loop take: teacher paths, compiling, the LoRA's own loop, the sheet.
fast=${FAST:-110}
after=$((fast + 130))
# Loading, encoding and compiling before the loop.
before=${BEFORE:-150}
cards=$(python3 -c 'import torch; print(max(1, torch.cuda.device_count()))')
cores=$(nproc)
train=(python3 -m weights.recipe.train_edit)
mkdir -p "$build/pairs" "$build/out"
# The budget of a run that was cut is that of its first start.
[ -f "$build/began" ] || date +%s >"$build/began"
began=$(cat "$build/began")
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1

stage() {
    echo "$(($(date +%s) - began)) $1" | tee -a "$build/stages"
}

stage draw
python3 -m weights.recipe.edit_pairs --out "$build/held" --count 24 --seed 99 --workers "$cores" >"$build/held.log"
python3 -m weights.recipe.edit_pairs --out "$build/pairs" --count "$sessions" --seed 5 --workers "$cores" \
    >"$build/draw.log" &
drawing=$!

if [ ! -f "$build/work/pipeline/model_index.json" ]; then
    # A third of the sessions is enough for the tower; the rest is drawn while it learns.
    while kill -0 "$drawing" 2>/dev/null &&
        [ "$(find "$build/pairs" -name '*.npz' | wc -l)" -lt "$((sessions / 750))" ]; do sleep 1; done
    stage vision
    OMP_NUM_THREADS=2 "${train[@]}" vision --data "$build/pairs" --work "$build/work.part" --seconds "${VISION:-60}"
    mkdir -p "$build/work"
    mv "$build/work.part/pipeline" "$build/work/pipeline"
fi
wait "$drawing"

if [ ! -d "$build/out/miniature" ]; then
    cp -r weights/miniature "$build/out/miniature.part"
    mv "$build/out/miniature.part" "$build/out/miniature"
fi
seconds=$((budget - ($(date +%s) - began) - before - after))
stage "train for ${seconds} s"
OMP_NUM_THREADS=$((cores / cards > 8 ? 8 : cores / cards)) \
    python3 -m torch.distributed.run --standalone --nproc-per-node "$cards" -m weights.recipe.train_edit \
    train --data "$build/pairs" --work "$build/work" --out "$build/out/miniature-edit" \
    --seconds "$((seconds > 30 ? seconds : 30))" --fast-seconds "$fast"

stage sheet
OMP_NUM_THREADS=8 "${train[@]}" sheet --data "$build/held" --out "$build/out/miniature-edit" --file "$build/sheet.png"
stage done
