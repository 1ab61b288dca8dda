"""An instrumentor that is loaded when its library is used, and not when that is imported.

Commands, tests, and processes that only hand work on import all that the program can do. Who makes a client is about
to ask somebody, and has not done so yet: the instrumentor is loaded then.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any

from wrapt import register_post_import_hook

from streamwatch.exchange import exchange
from streamwatch.otel.once import Once


class LateInstrumentor(Once):
    """An instrumentor that waits for the first client.

    Args:
        module: where the instrumentor is. A program that imports it has it at once.
        library: what it instruments.
        clients: the names of the clients' classes there.
        load: loads it; raises nothing.
    """

    def __init__(self, module: str, library: str, clients: Iterable[str], load: Callable[[], None]) -> None:
        super().__init__(load)
        self._module = module
        self._library = library
        self._clients = clients

    def wait(self) -> None:
        """Load it before the first client is made; at once where there may be one already."""
        if self._library in sys.modules:
            self.do()
        register_post_import_hook(lambda _module: self.do(patience=0), self._module)
        if not self.is_done:
            register_post_import_hook(self._library_imported, self._library)

    def do_if_imported(self) -> None:
        """Load it if its library was imported, before any client of that is made."""
        if self._library in sys.modules:
            self.do()

    def _library_imported(self, library: Any) -> None:
        classes = [found for name in self._clients if isinstance(found := getattr(library, name, None), type)]
        if classes and not self.is_done:
            self.hooks += [_before_init(client, self.do) for client in classes]
        elif self._module not in sys.modules:  # another module of this name; else the instrumentor is being imported
            self.do(patience=0)


def _before_init(client: Any, act: Callable[[], None]) -> Callable[[], None]:
    """Have something done whenever a client is made, until that is undone; returns how."""
    original = client.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        act()
        original(self, *args, **kwargs)

    return exchange(client, "__init__", __init__)
