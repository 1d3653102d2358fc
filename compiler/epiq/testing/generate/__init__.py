"""Random recipes: `random_recipe(seed)`, and variants of them."""

from epiq.testing.generate.model import random_recipe, variants

__all__ = ["random_recipe", "variants"]
