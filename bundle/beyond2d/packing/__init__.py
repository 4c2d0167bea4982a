"""Packs a system into a folder and a zip that run with MONAI and the listed packages alone, and shares it on a hub."""

from __future__ import annotations

from .bundles import Bundle, pack_system, put_together, zipped
from .hub import pull_bundle, push_bundle
from .recipes import RECIPES

__all__ = ["RECIPES", "Bundle", "pack_system", "pull_bundle", "push_bundle", "put_together", "zipped"]
