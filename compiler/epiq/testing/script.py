"""A finding as a script that anyone who has epiq can run."""

from __future__ import annotations

from epiq.testing.recipe import Recipe

_SCRIPT = '''"""{signature}

Found by `python -m epiq.testing.fuzz`, seed {seed}, shrunk. The model:

{source}"""

import sys

from epiq.testing.oracle import check
from epiq.testing.recipe import Input, Recipe, Step

RECIPE = {recipe}


def main() -> int:
    finding = check(RECIPE, {device!r}).finding
    print(f"{{finding.kind}}: {{finding.message}}\\n{{finding.detail}}" if finding else "nothing is wrong")
    return int(finding is not None)


if __name__ == "__main__":
    sys.exit(main())
'''


def script(recipe: Recipe, signature: str, seed: str, device: str = "cpu") -> str:
    """The text of a script that checks `recipe`; it exits with 1 while something is wrong."""
    source = recipe.source().replace("\\", "\\\\").replace('"""', "'''")
    return _SCRIPT.format(
        signature=signature, seed=seed, source=source, recipe=recipe_text(recipe), device=device
    )


def recipe_text(recipe: Recipe) -> str:
    """The expression that makes `recipe`, a line for each input and step."""
    lines = ["Recipe(", "    inputs=("]
    lines += [f"        {given!r}," for given in recipe.inputs]
    lines += ["    ),", "    steps=("]
    lines += [f"        {step!r}," for step in recipe.steps]
    lines += ["    ),", f"    outputs={recipe.outputs!r},", f"    sizes={dict(recipe.sizes)!r},"]
    if recipe.dynamic:
        others = tuple(dict(other) for other in recipe.others)
        lines += ["    dynamic=True,", f"    others={others!r},"]
    if recipe.route != "direct":
        lines.append(f"    route={recipe.route!r},")
    return "\n".join([*lines, ")"])
