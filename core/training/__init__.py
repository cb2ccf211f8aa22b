"""Training a LoRA of one character on Qwen-Image: dataset, run, choice of the checkpoint. Its `spec` needs no torch."""
