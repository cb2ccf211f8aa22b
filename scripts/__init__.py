"""Scripts of the repository: run them as modules from its root, for example ``python -m scripts.demo``."""
