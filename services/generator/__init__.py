"""The generator: pictures from words with Qwen-Image, over gRPC."""
