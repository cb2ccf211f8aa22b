"""The trainer: jobs that make a LoRA from photos of a character."""
