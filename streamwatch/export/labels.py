"""The values that may stand in a label, an attribute, a log line or a capture's head: a short name, and no text.

A server, a relay or the caller chooses these values. A value in the form of a name is cut and kept; anything else, a
sentence, an object or a key, is a text, and goes nowhere.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

#: Characters. Names of models and ids are well below it, error texts are not.
MAX_LENGTH = 100
#: What stands for a value that is not a name, and for all values beyond the number that is kept.
OTHER = "_other"
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
#: Names of models have slashes, and some a marker before or behind them: `@cf/meta/llama`, `vendor/model+lora`.
_MODEL = re.compile(r"[A-Za-z0-9_.:/@~+-]{1,256}")
#: A host may have letters of every script.
_HOST = re.compile(r"[\w.:%\[\]-]{1,256}")
#: Keys of OpenAI and those that do as it does, Groq, Hugging Face, xAI, Google, AWS and GitHub, and JSON web tokens:
#: one wrong setting puts one where a name should stand.
_KEY = re.compile(
    r"sk-[\w-]{16}|gsk_\w{20}|hf_\w{20}|xai-\w{40}|AIza[\w-]{30}|AKIA[A-Z0-9]{16}|gh[a-z]_\w{20}|eyJ[\w-]{10,}\.[\w-]"
)

#: Packages whose exceptions have names of their own. Another one is the application's, and may be called anything.
_OF_PACKAGES = frozenset(
    {"httpcore", "httpx", "httpx2", "jiter", "openai", "opentelemetry", "pydantic", "pydantic_core", "streamwatch"}
)


def address(url: str, unreadable: str) -> str:
    """Return a URL without its credentials, query and fragment; `unreadable` where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return unreadable
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_identifier(value: str) -> bool:
    """Return whether a value has the form of an id that a server makes."""
    return _ID.fullmatch(value) is not None and _KEY.match(value) is None


def is_model(value: str) -> bool:
    """Return whether a value has the form of a model's name."""
    return _MODEL.fullmatch(value) is not None and _KEY.match(value) is None


def _is_host(value: str) -> bool:
    return _HOST.fullmatch(value) is not None and _KEY.match(value) is None


# An application asks some models at a few addresses, and each stream asks for them four times. What is cut to
# `MAX_LENGTH` alone is kept here.
_is_known_model, _is_known_host = functools.lru_cache(256)(is_model), functools.lru_cache(256)(_is_host)


def identifier(value: object) -> str:
    """Return an id, cut; "" for anything else."""
    return _cut(value, is_identifier, "")


def model(value: object) -> str:
    """Return the name of a model, cut; "" where there is none, `_other` for anything else."""
    return _cut(value, _is_known_model, OTHER)


def host(value: object) -> str:
    """Return a host, cut; "" where there is none, `_other` for anything else."""
    return _cut(value, _is_known_host, OTHER)


def _cut(value: object, is_name: Callable[[str], bool], other: str) -> str:
    if not isinstance(value, str):
        return "" if value is None else other
    value = value[:MAX_LENGTH]
    return value if not value or is_name(value) else other


def error_type(error: BaseException) -> str:
    """Return the name of an exception's type, `_other` for one that is the application's own."""
    package = type(error).__module__.partition(".")[0]
    known = package in _OF_PACKAGES or package in sys.stdlib_module_names
    return _cut(type(error).__name__, is_identifier, OTHER) if known else OTHER


class LabelValues:
    """The values of some labels, at most `max_values` of each; what comes later is `_other`."""

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._seen: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def of(self, label: str, value: str) -> str:
        """Return a value that was cut, or `_other` where the label has as many values as it may."""
        seen = self._seen.get(label)
        if seen is not None and value in seen:
            return value
        with self._lock:
            seen = self._seen.setdefault(label, set())
            if value not in seen and len(seen) >= self._max_values:
                return OTHER
            seen.add(value)
        return value

    def unlock(self) -> None:
        """Forget who holds the lock: in a forked process, where nobody does."""
        self._lock = threading.Lock()
