"""The choice of Streamwatch's distro by `opentelemetry-instrument`, unless the user has chosen.

`opentelemetry-instrument` imports this module before it starts the application. With several distros installed and
none named, it takes the first one that the file system lists; naming Streamwatch's here makes the choice certain.
It is the reason for a side effect at import. Only the distro is named: the distro itself names the configurator, so
that `opentelemetry-instrument --distro=another ...` leaves nothing of Streamwatch behind.
"""

from __future__ import annotations

import os

_CHOICES = ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR")

if not any(os.environ.get(name) for name in _CHOICES):
    os.environ["OTEL_PYTHON_DISTRO"] = "streamwatch"
