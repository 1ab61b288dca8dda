"""The clients, and a virtual environment for each: they ask for different releases of the SDK."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BOTH = ("chat", "responses")


@dataclass(frozen=True)
class Client:
    """A driver, `with_NAME.py`, and what it needs."""

    name: str
    requirement: str  #: the environment is named after it
    apis: tuple[str, ...] = BOTH
    packages: tuple[str, ...] = ("openai",)  #: whose releases matter
    asks_for_n: bool = False  #: whether it can stream more than one choice
    only_calls: bool = False  #: whether it can make nothing of text

    @property
    def environment(self) -> str:
        """The folder of its environment."""
        return self.requirement.partition("[")[0]


CLIENTS = {
    client.name: client
    for client in (
        Client("openai_create", "openai", asks_for_n=True),
        Client("openai_create_async", "openai", asks_for_n=True),
        Client("openai_naive", "openai", ("chat",), asks_for_n=True),
        Client("openai_stream", "openai", asks_for_n=True),
        Client("agents", "openai-agents", packages=("openai-agents", "openai")),
        Client("langchain", "langchain-openai", packages=("langchain-openai", "langchain-core", "openai")),
        Client("langchain_async", "langchain-openai", packages=("langchain-openai", "langchain-core", "openai")),
        Client("pydantic_ai", "pydantic-ai-slim[openai]", packages=("pydantic-ai-slim", "openai")),
        # Its Responses API needs mcp, which it does not install by itself.
        Client("litellm", "litellm[mcp]", packages=("litellm", "mcp", "openai")),
        Client("instructor", "instructor", packages=("instructor", "openai"), only_calls=True),
        Client("llama_index", "llama-index-llms-openai", packages=("llama-index-llms-openai", "openai")),
    )
}


def python_of(client: Client, venvs: Path) -> Path:
    """The interpreter of a client's environment."""
    return venvs / client.environment / "bin" / "python"


def build(client: Client, venvs: Path, *, upgrade: bool) -> None:
    """Make a client's environment if there is none, with the newest releases; or bring it up to them."""
    python = python_of(client, venvs)
    if python.exists() and not upgrade:
        return
    print(f"installing {client.requirement} into {python.parents[1]}", file=sys.stderr)
    uv = shutil.which("uv")
    if not python.exists():
        make = [uv, "venv", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        subprocess.run([*make, str(python.parents[1])], check=True)
    install = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    wanted = ["--quiet", "--upgrade", client.requirement, "openai", "--editable", str(CHECKOUT)]
    subprocess.run([*install, *wanted], check=True)


def releases(client: Client, venvs: Path) -> dict[str, str]:
    """The releases that a client is run with."""
    code = "import sys; from importlib.metadata import version as v; print(*(v(p) for p in sys.argv[1:]))"
    command = [str(python_of(client, venvs)), "-c", code, *client.packages]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(zip(client.packages, printed.split(), strict=True))
