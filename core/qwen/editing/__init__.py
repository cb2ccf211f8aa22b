"""Edits: pictures and an instruction into new pictures, with the classes of Qwen-Image-Edit-2511."""
