"""The shipped folders, wherever this install keeps them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped(name: str) -> Path:
    """Return the folder `templates` or `policies`: inside the wheel, else beside the package in a checkout."""
    package = Path(str(files("broker")))
    for root in (package / "_shipped", package.parent):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"the shipped folder `{name}` is missing from this install")
