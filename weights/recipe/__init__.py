"""How the shipped miniature weights are made: drawings, captions, training."""
