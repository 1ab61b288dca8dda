"""Runbooks of the kinds of anomaly."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "runbooks"


def render():
    return {}
