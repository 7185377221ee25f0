"""Definitions as data for people and machines who browse them."""

from __future__ import annotations

from typing import Any

from featurestore.registry.definitions import Definition
from featurestore.registry.serialization import to_data, version_of


def describe(definition: Definition) -> dict[str, Any]:
    """A definition in full: its meaning, what people say about it, and the version that names its meaning."""
    return {**to_data(definition), "version": version_of(definition)}
