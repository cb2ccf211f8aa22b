"""Qwen-Image with torch and diffusers: profiles, loading, modes, text, sampling and decoding."""
