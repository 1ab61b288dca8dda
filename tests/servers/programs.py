"""The real servers and proxies, as programs that a test starts and ends."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
from pathlib import Path

from apps import pipeline
from helpers.ports import free_port
from servers import environments

#: The key that LiteLLM wants of its clients; it refuses to start with a short one.
KEY = "sk-local-0123456789abcdef0123456789abcdef"
#: torch with as many threads as cores would take them all for a model of 130,000 parameters; and no server may ask a hub.
_ALONE = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # vLLM imports thousands of modules, in each of its processes
    "NO_PROXY": "127.0.0.1,localhost",
}


class Server(pipeline.Program):
    """A server of the tiny model, in the folder that holds it: its path is in no answer then."""

    environment = ""
    health = "health"
    #: What the model is called in a request.
    model = "tiny"
    #: Seconds until it answers, on a busy machine.
    patience = 240.0

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.of = environments.ENVIRONMENTS[self.environment]
        self.name = self.environment
        environments.build(self.of)
        low = ["nice", "-n", "19"] if shutil.which("nice") else []
        super().__init__(folder, [*low, *self.command()], {**_ALONE, **self.environ(folder)})

    def command(self) -> list[str]:
        raise NotImplementedError

    def environ(self, folder: Path) -> dict[str, str]:
        return {}

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=environments.model(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            pipeline.wait(self._up, self.patience, self.name)
        except BaseException:
            print(self.log.read_text("utf-8", "replace")[-4000:])
            self.kill()
            raise

    def ready(self) -> bool:
        try:
            return pipeline.get(f"{self.base_url.removesuffix('/v1')}/{self.health}") is not None
        except urllib.error.HTTPError:
            return False


class Transformers(Server):
    """`transformers serve`, which streams a Python object for each token."""

    environment = "transformers"
    model = "./tiny"

    def command(self) -> list[str]:
        at = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(self.port)]
        return [str(environments.program(self.of)), "serve", self.model, *at]


class Llama(Server):
    """llama-server, of llama.cpp."""

    environment = "llama"

    def command(self) -> list[str]:
        at = ["--host", "127.0.0.1", "--port", str(self.port), "--threads", "1", "--offline"]
        model = ["-m", str(environments.gguf()), "--alias", "tiny", "--jinja", "-c", "2048", "-np", "2"]
        return [str(environments.program(self.of)), *model, *at]


class Vllm(Server):
    """vLLM on a processor."""

    environment = "vllm"
    #: It took 50 seconds of processor time, in three processes one after the other, and got half of one or less.
    patience = 1200.0

    def command(self) -> list[str]:
        # In the form of a module: the command `vllm` looks for a distribution of that name.
        model = ["--model", "./tiny", "--served-model-name", "tiny", "--dtype", "float32", "--max-model-len", "512"]
        # It takes no notice of the model's own `do_sample: false`, and would draw lots for each token.
        greedy = ["--enforce-eager", "--override-generation-config", '{"temperature": 0}']
        tools = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        at = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [str(self.of.python), "-m", "vllm.entrypoints.openai.api_server", *model, *greedy, *tools, *at]

    def environ(self, folder: Path) -> dict[str, str]:
        return {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


class LiteLLM(Server):
    """The LiteLLM proxy in front of a server."""

    environment = "litellm"
    health = "health/liveliness"

    def __init__(self, folder: Path, base_url: str, model: str) -> None:
        self._config = folder / f"litellm-{base_url.rpartition(':')[2].removesuffix('/v1')}.json"
        parameters = {"model": f"openai/{model}", "api_base": base_url, "api_key": "none"}
        config = {
            "model_list": [{"model_name": "tiny", "litellm_params": parameters}],
            "general_settings": {"master_key": KEY},
            # Its retries would hide that the server behind it breaks off.
            "litellm_settings": {"num_retries": 0, "telemetry": False},
        }
        self._config.write_text(json.dumps(config))  # JSON is YAML
        super().__init__(folder)

    def command(self) -> list[str]:
        at = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [str(environments.program(self.of)), "--config", str(self._config), *at]

    def environ(self, folder: Path) -> dict[str, str]:
        # Its own list of prices, instead of one that it would fetch.
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_ADMIN_UI": "True"}


# --- proxies

_HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server {timeout}
frontend streams
    bind 127.0.0.1:{own}
    default_backend server
backend server
    server one 127.0.0.1:{server}
"""
_NGINX = """
daemon off;
pid {folder}/nginx-{buffering}.pid;
error_log {folder}/nginx-{buffering}-error.log crit;
worker_processes 1;
events {{ worker_connections 100; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{own};
        location / {{
            proxy_pass http://127.0.0.1:{server};
            proxy_http_version {http};
            proxy_set_header Connection "";
            proxy_buffering {buffering};
            proxy_read_timeout {timeout};
        }}
    }}
}}
"""
PROXIES = {name: shutil.which(name) or shutil.which(f"/usr/sbin/{name}") for name in ("haproxy", "nginx")}


class Proxy(pipeline.Program):
    """HAProxy or nginx in front of a port."""

    def __init__(
        self, kind: str, folder: Path, to: int, *, timeout: str = "60s", buffering: str = "off", http: str = "1.1"
    ) -> None:
        self.port = free_port()
        self.name = f"{kind}-{buffering}-{self.port}"
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        file = folder / f"{self.name}.conf"
        config = _HAPROXY if kind == "haproxy" else _NGINX
        options = {"timeout": timeout, "buffering": buffering, "http": http}
        file.write_text(config.format(own=self.port, server=to, folder=folder, **options))
        own = ["-f", str(file), "-db"] if kind == "haproxy" else ["-c", str(file), "-p", str(folder)]
        super().__init__(folder, [str(PROXIES[kind]), *own])

    def ready(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        return True
