"""Architectures by name. A new one is a file here with ``@architecture("name")`` and a line below.

The registry knows names without importing torch; building a module imports it.
"""

from __future__ import annotations

from models_core.architectures.registry import architecture, architecture_names, build, build_binary

__all__ = ["architecture", "architecture_names", "build", "build_binary"]
