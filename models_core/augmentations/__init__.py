"""The augmentations that come along, by the kind of input they are for. Importing registers them."""

from __future__ import annotations

from models_core.augmentations import images, numbers, series, tables, tokens

__all__ = ["images", "numbers", "series", "tables", "tokens"]
