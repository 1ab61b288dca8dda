"""The inheritance of a forked process: the SDK leaves it the parent's counts, and locks as they were.

The provider may be the application's own, so nothing but the state of Streamwatch's instruments is renewed.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any


def start_anew(instrument: Any) -> None:
    """Let an instrument count from zero, in a child right after the fork.

    By private names of the SDK, as there are no public ones; where they are others, the child goes on as it did.
    """
    with contextlib.suppress(Exception):
        real = getattr(instrument, "_real_instrument", None) or instrument  # a proxy has one once a provider is set
        for storage in real._measurement_consumer._reader_storages.values():
            # Another thread may have held it at the fork, and what records first in the child needs it now.
            storage._lock = threading.RLock()
            storage._instrument_view_instrument_matches.pop(real, None)
