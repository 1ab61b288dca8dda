"""Take pictures of the dashboards, and fail if a panel has no data: `python -m dashboards.preview`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dashboards.preview.live import MAY_BE_EMPTY, STEP, Application, Live

_HERE = Path(__file__).parent
_BOARDS = _HERE.parent / "json"
_IMAGES = _HERE.parents[1] / "docs" / "images"
#: What "before" is on the pictures: the part of the run before the spike.
_BEFORE = "2m"
#: What a point of a fix rate is of on them: cases enough.
_WINDOW = "90s"
#: Long enough for the spike of `traffic`, with calm on both sides.
_SECONDS = 300


def main() -> int:
    """Run everything, take the pictures, and name what had no data."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.preview", description=__doc__)
    parser.add_argument("--seconds", type=int, default=_SECONDS, help="how long to measure (default: %(default)s)")
    parser.add_argument("--images", type=Path, default=_IMAGES, help="where the pictures go (default: docs/images)")
    parser.add_argument("--widths", type=int, nargs="+", default=[1280, 1920], help="in pixels (default: 1280 1920)")
    parser.add_argument("--other-python", default=sys.executable, help="a python with another release of openai")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no chromium on PATH; on Debian: apt-get install chromium")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by a script, it leaves nothing running either
    _build()
    with ExitStack() as running:
        live = Live(_applications(options.other_python), running, alerts=True)
        origin = _serve(running)
        _wait(live, options.seconds)
        options.images.mkdir(parents=True, exist_ok=True)
        pictures = list(_pictures(origin, live.url, options))
        said = _shoot(chromium, pictures)
    return _judge(said, [Path(picture["picture"]) for picture in pictures])


def _applications(other: str) -> list[Application]:
    spiky = ("dashboards.preview.traffic",)
    return [
        Application("shop", rate=5, server=spiky),
        Application("assistant", host="localhost", rate=3, server=(*spiky, "--calm"), python=other),
        Application("batch", repair="none", rate=2, server=spiky),
    ]


def _build() -> None:
    """Install what the page is made of, once, and make it."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("There is no npm on PATH; on Debian: apt-get install npm")
    if not (_HERE / "node_modules").exists():
        subprocess.run([npm, "ci"], cwd=_HERE, check=True)  # noqa: S603 -- the command is ours
    subprocess.run([npm, "run", "--silent", "build", "--", "--logLevel", "error"], cwd=_HERE, check=True)  # noqa: S603


def _serve(running: ExitStack) -> str:
    """Serve the page and the dashboards over HTTP; return where."""

    class Files(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            name = path.partition("?")[0].removeprefix("/json/")
            return str(_BOARDS / name) if path.startswith("/json/") else super().translate_path(path)

        def log_message(self, *_: Any) -> None:
            """Keep quiet: nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=_HERE / "dist"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    running.callback(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}"


def _wait(live: Live, seconds: int) -> None:
    sys.stdout.write(f"Measuring for {seconds} s ...\n")
    sys.stdout.flush()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        live.check()
        time.sleep(1)


def _pictures(origin: str, prometheus: str, options: argparse.Namespace) -> Any:
    end = int(time.time())
    for path in sorted(_BOARDS.glob("*.json")):
        for width in options.widths:
            for theme in _themes(path, width == min(options.widths)):
                query = {
                    "board": f"/json/{path.name}",
                    "prometheus": prometheus,
                    "end": end,
                    "seconds": options.seconds,
                    "step": STEP,
                    "window": _WINDOW,
                    "before": _BEFORE,
                    "theme": theme,
                }
                picture = options.images / f"{path.stem}-{theme}-{width}.png"
                url = f"{origin}/?{urllib.parse.urlencode(query)}"
                yield {"url": url, "width": width, "picture": str(picture)}


def _themes(path: Path, smallest: bool) -> tuple[str, ...]:  # noqa: FBT001
    """Return dark for all, and light once, to see that it is legible too."""
    return ("dark", "light") if smallest and "overview" in path.stem else ("dark",)


def _shoot(chromium: str, pictures: list[dict[str, Any]]) -> list[list[str]]:
    command = [shutil.which("node") or "node", "shoot.mjs", chromium]
    done = subprocess.run(  # noqa: S603 -- the command is ours
        command, input=json.dumps(pictures), cwd=_HERE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"The pictures could not be taken: {done.stderr.strip()}")
    return list(json.loads(done.stdout))


def _judge(said: list[list[str]], pictures: list[Path]) -> int:
    for picture in pictures:
        sys.stdout.write(f"{picture.name}: {picture.stat().st_size // 1024} KiB\n")
    wrong = sorted({tuple(one) for one in said if tuple(one[:3]) not in MAY_BE_EMPTY or one[3] != "no data"})
    for board, panel, query, complaint in wrong:
        sys.stderr.write(f"{board}: {panel}, query {query}: {complaint}\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
