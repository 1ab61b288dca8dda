"""An empty mapping and an empty sequence for all streams.

Of an ordinary stream nothing waits and nothing is found, and an empty dictionary or list for each such thing would hold
64 bytes of every stream that is open. Who has something to put in makes one of its own; nobody can put anything in
here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

#: Stands for an empty dictionary of any type.
NOTHING: Final[Any] = MappingProxyType({})
#: Stands for an empty list of any type.
NONE_YET: Final[Any] = ()
