"""What the page of the settings says of bounds that are no settings is what the code has."""

from __future__ import annotations

from docs.site import reference
from streamwatch.core import reorder


def test_the_shorter_window_is_the_one_that_the_page_names() -> None:
    """STREAMWATCH_WINDOW_SECONDS does not apply to numbers that nobody can rely on."""
    _, meaning = reference.variables()["STREAMWATCH_WINDOW_SECONDS"]

    assert meaning.endswith(f"hold events back for {reorder._SHORT_SECONDS} s at most.")
