#!/bin/sh
# The REST routes with curl. Start the gateway first: make up
set -eu
cd "$(dirname "$0")/.."
server="${LIKENESS_URL:-http://127.0.0.1:8080}"
mkdir -p out

# The picture itself, from a form with a file: the facts are in the X-Likeness headers.
curl -sS --fail-with-body "$server/qwen-faceswap" \
  -H 'Accept: image/png' \
  -F 'prompt=A professional woman in a modern office' \
  -F 'aspect_ratio=9:16' \
  -F 'restore_face=true' \
  -F 'reference_image=@examples/reference.jpg' \
  -D out/office-headers.txt -o out/office.png
grep -i '^x-likeness' out/office-headers.txt

# JSON in and out, in the fast mode.
{
  printf '{"prompt": "A woman in a café", "seed": 7, "reference_image": "data:image/jpeg;base64,'
  base64 < examples/reference.jpg | tr -d '\n'
  printf '"}'
} | curl -sS --fail-with-body "$server/qwen-faceswap-fast" -H 'Content-Type: application/json' -d @- -o out/cafe.json
echo "wrote out/office.png and out/cafe.json"

# Progress while it draws.
curl -sSN --fail-with-body "$server/qwen-image-2512" \
  -H 'Accept: text/event-stream' -H 'Content-Type: application/json' \
  -d '{"prompt": "A man with a beard on a beach", "mode": "fast", "store": true}'

# A face into a picture that is there already.
curl -sS --fail-with-body "$server/faceswap" -H 'Accept: image/jpeg' \
  -F 'target_image=@out/office.png' -F 'reference_image=@examples/reference.jpg' -o out/swapped.jpg
echo "wrote out/swapped.jpg"

# The person of a picture in another scene; lock_face swaps the picture's own face into the result.
curl -sS --fail-with-body "$server/qwen-character-scene" -H 'Accept: image/png' \
  -F 'character_image=@examples/reference.jpg' -F 'scene=on a beach' -F 'lock_face=true' -F 'mode=fast' -o out/beach.png
echo "wrote out/beach.png"
