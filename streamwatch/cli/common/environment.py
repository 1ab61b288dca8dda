"""The environment of Streamwatch: each variable, where its value comes from, and what must not be shown.

A value is shown only where its variable is known to hold no secret; of an address everything is shown but its
credentials. `scrub` takes what is secret elsewhere in the environment out of any text that is to be printed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streamwatch.core.settings import Policy, Settings
from streamwatch.export import labels

_PREFIX = "STREAMWATCH_"
#: The variables of Streamwatch's own.
SETTINGS = {f"{_PREFIX}{field.name.upper()}": field.name for field in dataclasses.fields(Settings)}
#: What tests of Streamwatch itself read: no setting, and no misspelled one.
_TESTS = frozenset({"STREAMWATCH_E2E", "STREAMWATCH_FUZZ", "STREAMWATCH_SOAK_SECONDS"})

#: Variables of OpenTelemetry that decide about Streamwatch and hold no secret.
_SHOWN = re.compile(
    r"OTEL_(SDK_DISABLED|CONFIG_FILE|SERVICE_NAME|LOG_LEVEL|METRICS_EXEMPLAR_FILTER|METRIC_EXPORT_(INTERVAL|TIMEOUT)"
    r"|(TRACES|METRICS|LOGS)_EXPORTER|TRACES_SAMPLER|PYTHON_(DISTRO|CONFIGURATOR|DISABLED_INSTRUMENTATIONS|[A-Z]+_PROVIDER)"
    r"|EXPORTER_PROMETHEUS_(HOST|PORT)|EXPORTER_OTLP_((TRACES|METRICS|LOGS)_)?(ENDPOINT|PROTOCOL|TIMEOUT|COMPRESSION|INSECURE))"
)
#: Variables whose values are secret wherever they turn up.
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|HEADERS|COOKIE|_PAT$|DSN", re.IGNORECASE)
#: Secret values shorter than this are not looked for elsewhere: `1` or `true` would take the text apart.
_SHORTEST_SECRET = 6
#: The user and the password of a URL; and keys as the vendors make them.
_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")
_KEYS = re.compile(r"\b(sk|pk|ghp|glc|glsa|xox[abp])[-_][A-Za-z0-9_-]{8,}|\b[Bb]earer\s+[^\s'\"]+")
_HIDDEN = "***"

#: How alike a name must be to one that exists to be taken for a slip: one or two letters of twenty.
_ALIKE = 0.88

_DISTRO, _CONFIGURATOR = "OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


@dataclass(frozen=True)
class Variable:
    """A variable, the value that is in force, and where that comes from; `value` is fit to be shown."""

    name: str
    value: str
    source: str


# --- secrets


def shown(name: str, value: str) -> str:
    """Return the value of a variable, as far as it may be shown."""
    if not (name in SETTINGS or _SHOWN.fullmatch(name)):
        return _HIDDEN
    return address(value) if "://" in value else value


def address(url: str) -> str:
    """Return a URL without its credentials, query and fragment."""
    return labels.address(url, _HIDDEN)


def scrub(text: str, environ: Mapping[str, str]) -> str:
    """Return a text without the secrets of the environment, without credentials in addresses, without keys."""
    return without(secrets(environ), text)


def secrets(environ: Mapping[str, str]) -> list[str]:
    """Return what no text may show, the longest first: one may be a part of another."""
    found = {value for name, value in environ.items() if _SECRET.search(name)}
    for name, value in environ.items():
        if name.endswith("_HEADERS"):  # a list of name=value: each is a secret of its own
            found |= {pair.partition("=")[2].strip() for pair in value.split(",")}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def without(hidden: list[str], text: str) -> str:
    """Return a text without these secrets, without credentials in addresses, without keys."""
    for secret in hidden:
        text = text.replace(secret, _HIDDEN)
    return _KEYS.sub(_HIDDEN, _USERINFO.sub("", text))


# --- what is in force


def variables(environ: Mapping[str, str]) -> Iterator[Variable]:
    """Yield every setting of Streamwatch, then each variable of OpenTelemetry that is set or filled in."""
    settings, complaints = Settings.from_environ(environ)
    for name, field in SETTINGS.items():
        unusable = any(complaint.startswith(f"{name}=") for complaint in complaints)
        source = "environment" if environ.get(name, "").strip() else "default"
        yield Variable(name, _text(getattr(settings, field)), "default: unusable" if unusable else source)
    for name in sorted(name for name, value in environ.items() if name.startswith("OTEL_") and value):
        yield Variable(name, shown(name, environ[name]), "environment")
    for name, value in filled_in(environ).items():
        yield Variable(name, value, "Streamwatch")


def filled_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what Streamwatch's distro sets where the user said nothing; another distro sets its own."""
    from streamwatch.otel.distro import defaults

    return {} if other_distro(environ) else defaults(environ)


def in_charge(environ: Mapping[str, str]) -> bool:
    """Return whether Streamwatch's distro and configurator set OpenTelemetry up."""
    return not other_distro(environ) and environ.get(_CONFIGURATOR) in (None, "", "streamwatch")


def other_distro(environ: Mapping[str, str]) -> str:
    """Return the distro that the user named, unless it is Streamwatch's."""
    name = environ.get(_DISTRO, "")
    return "" if name == "streamwatch" else name


def _text(value: Any) -> str:
    """Return a value as it is written in the environment."""
    if isinstance(value, Policy):
        return value.text
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def misspelled(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield names that nobody reads but that look like one that is read, with that one or with nothing."""
    known = {*SETTINGS, *_otel_names()}
    for name in sorted(environ):
        if name in known or name in _TESTS or name.startswith(f"_{_PREFIX}"):  # the last are Streamwatch's own
            continue
        alike = difflib.get_close_matches(name.upper(), known, 1, _ALIKE)
        if name.upper().startswith(_PREFIX):
            endings = [one.removeprefix(_PREFIX) for one in SETTINGS]
            nearest = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), endings, 1)
            yield name, _PREFIX + nearest[0] if nearest else ""
        elif alike and (alike[0].startswith(_PREFIX) or name.upper().startswith("OTEL_")):
            yield name, alike[0]


def _otel_names() -> set[str]:
    """Return what OpenTelemetry and what is installed for it reads."""
    from importlib import import_module

    from opentelemetry.util._importlib_metadata import entry_points

    modules = {point.value for point in entry_points(group="opentelemetry_environment_variables")}
    names: set[str] = set()
    for module in {*modules, "opentelemetry.sdk.environment_variables"} - {"streamwatch.otel.environment_variables"}:
        with contextlib.suppress(Exception):  # a broken package is not what is asked about
            names |= {name for name in vars(import_module(module)) if name.startswith("OTEL_")}
    return names


# --- what stands in the way


@dataclass(frozen=True)
class Obstacle:
    """Something in the environment against Streamwatch, what to do about it, and whether it switches it off."""

    what: str
    remedy: str
    is_off: bool = False


def obstacles(environ: Mapping[str, str]) -> Iterator[Obstacle]:
    """Yield what the environment says against Streamwatch, and what to do about it."""
    if other := other_distro(environ):
        what = (
            f"{_DISTRO}={other}: that distro decides about exporters; streams are watched and repaired all the same,"
            " but the Prometheus endpoint on 9464 and what else Streamwatch fills in do not apply."
        )
        yield Obstacle(what, f"Unset {_DISTRO} to have Streamwatch's, or set up exporters as that distro wants it.")
    elif environ.get(_CONFIGURATOR) not in (None, "", "streamwatch"):
        what = (
            f"{_CONFIGURATOR}={environ[_CONFIGURATOR]}: that configurator builds the exporters; a busy port or a"
            " missing exporter costs all telemetry then, and Streamwatch fills in nothing."
        )
        yield Obstacle(what, f"Unset {_CONFIGURATOR} to have Streamwatch's.")
    off = [part.strip() for part in environ.get(_DISABLED, "").split(",")]
    if "streamwatch" in off or "*" in off:
        what = f"{_DISABLED}={environ[_DISABLED]} switches Streamwatch off."
        yield Obstacle(what, "Take streamwatch (or *) out of it.", is_off=True)
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Obstacle(
            "OTEL_SDK_DISABLED=true: streams are watched and repaired, and nothing is exported.",
            "Unset it to have metrics and spans.",
        )
