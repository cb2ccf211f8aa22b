"""The editor: pictures and an instruction into new pictures with Qwen-Image-Edit, over gRPC."""
