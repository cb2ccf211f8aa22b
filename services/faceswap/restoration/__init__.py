"""Restoration of swapped faces: the networks, and how their result comes into the picture."""
