"""YAML as libyaml reads it, where PyYAML has that: in a tenth of the time."""

from __future__ import annotations

from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def document(text: str) -> Any:
    """What a text says that is one document."""
    (one,) = documents(text)
    return one


def documents(text: str) -> list[Any]:
    """What a text says, document by document."""
    return list(yaml.load_all(text, _LOADER))
