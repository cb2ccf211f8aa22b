#!/bin/sh
# The gRPC services with grpcurl, by reflection. Start the services first: make up
set -eu
cd "$(dirname "$0")/.."
generator="${LIKENESS_GENERATOR_ADDRESS:-127.0.0.1:50051}"
faceswap="${LIKENESS_FACESWAP_ADDRESS:-127.0.0.1:50052}"
editor="${LIKENESS_EDITOR_ADDRESS:-127.0.0.1:50053}"
limit=67108864

grpcurl -plaintext "$generator" describe likeness.generator.v1.GeneratorService
grpcurl -plaintext -d '{"service": "likeness.generator.v1.GeneratorService"}' "$generator" grpc.health.v1.Health/Check

# Progress as a stream of events; the picture is stored, so that the terminal does not get its bytes.
grpcurl -plaintext -max-msg-sz "$limit" -H 'x-request-id: example-1' \
  -d '{"prompt": "a woman in a café", "mode": "fast", "seed": 7, "output": {"store": true}}' \
  "$generator" likeness.generator.v1.GeneratorService/Generate

# The faces of a picture.
printf '{"image": {"data": "%s"}}' "$(base64 < examples/reference.jpg | tr -d '\n')" |
  grpcurl -plaintext -max-msg-sz "$limit" -d @ "$faceswap" likeness.faceswap.v1.FaceSwapService/DetectFaces

# The person of a picture in another scene.
printf '{"scene": "in a café", "mode": "fast", "seed": 7, "output": {"store": true}, "images": [{"data": "%s"}]}' \
  "$(base64 < examples/reference.jpg | tr -d '\n')" |
  grpcurl -plaintext -max-msg-sz "$limit" -d @ "$editor" likeness.editor.v1.EditorService/Edit
