"""Asking a real endpoint through the real openai client, and keeping the bytes of each answer as they come.

The client's own parser sees nothing of them here: whatever a server sends is kept, and read later. Nothing that came
from outside is shown before it went through `ProbedEndpoint.shown`: no key, no header, no control character.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from streamwatch.cli.probe.questions import TOKENS, Question
from streamwatch.cli.probe.recorded_answer import RecordedAnswer

#: Bytes and reads of one answer: ten times what the questions ask for; a server that never ends fills no memory.
_MAX_BODY, _MAX_READS = 4 << 20, 20_000
#: Characters of a server's own message that are shown: two lines of a terminal.
_MAX_SHOWN = 200
#: Characters of a secret: shorter ones are dummies (`x`, `ollama`), longer ones are hidden within words, too.
_SHORTEST_SECRET, _LONG_SECRET = 8, 16


class Undone(Exception):  # noqa: N818 -- a sentence for people, not an error of this program
    """The error of a probe that can ask nothing more: the sentence says why."""


@dataclass(frozen=True)
class Reply:
    """The outcome of one request.

    `state` is `answered`, `not_offered` (the endpoint has no such API), `refused` (it does not take the request) or
    `failed`; `message` is a sentence on all but the first.
    """

    question: Question
    round: int
    state: str
    message: str = ""
    status: int = 200
    answer: RecordedAnswer | None = None


def printable(text: str, most: int = _MAX_SHOWN) -> str:
    """Return a text as it may be shown: one line, printable, bounded."""
    text = " ".join(text[: most * 8].split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= most else text[: most - 3] + "..."


@dataclass
class ProbedEndpoint:
    """The endpoint that is asked, and how to ask it."""

    base_url: str
    model: str
    key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    answered: bool = False
    _limit_name: str = "max_tokens"
    _client: Any = None

    @property
    def address(self) -> str:
        """The base URL without a password or query that may be in it."""
        parts = urlsplit(self.base_url)
        return self.shown(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")

    @property
    def sends_key_in_clear(self) -> bool:
        """Whether the key goes unencrypted to another machine."""
        parts = urlsplit(self.base_url)
        return bool(self.key) and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")

    def shown(self, text: str, most: int = _MAX_SHOWN) -> str:
        """Return a text from outside, as it may be shown: one line, printable, bounded, no secret in it."""
        secrets = [self.key, urlsplit(self.base_url).password or "", *self.headers.values()]
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _LONG_SECRET:
                text = text.replace(secret, "[hidden]")
            elif len(secret) >= _SHORTEST_SECRET:  # a word of its own: `lm-studio` is a key, and in names of models
                text = re.sub(rf"(?<![\w/.-]){re.escape(secret)}(?![\w/-])", "[hidden]", text)
        return printable(text, most)

    # --- asking

    def ask(self, question: Question, round: int = 0) -> Reply:
        """Send one request; raise `Undone` where no other would fare better."""
        import openai

        self._connect()
        if not hasattr(self._api(question), "with_streaming_response"):
            message = f"openai {openai.__version__} has no such API: a newer release of the client is needed."
            return Reply(question, round, "not_offered", message, 0)
        try:
            try:
                reply = self._record(question, round)
            except openai.BadRequestError as error:
                # Reasoning models take the newer name alone, and older servers the older one.
                if question.api != "chat" or "max_completion_tokens" not in str(error):
                    raise
                self._limit_name = "max_completion_tokens"
                reply = self._record(question, round)
        except openai.APIStatusError as error:
            return self._refusal(question, round, error)
        except openai.APITimeoutError:
            return self._late(question, round)
        except openai.APIConnectionError as error:
            raise Undone(self._unreachable(error)) from None
        except openai.OpenAIError as error:
            return Reply(question, round, "failed", f"The client gave up ({type(error).__name__}).", 0)
        self.answered = True
        return reply

    def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            self._client.close()

    def _record(self, question: Question, round: int) -> Reply:
        reads, ended, size = list[tuple[float, bytes]](), "", 0
        with self._opened(question) as response:
            kind = response.headers.get("content-type", "")
            began = time.monotonic()
            try:
                for data in response.iter_bytes():
                    reads.append((time.monotonic(), data))
                    size += len(data)
                    if reads[-1][0] - began > self.timeout:
                        ended = "no end within the time"
                        break
                    if size > _MAX_BODY or len(reads) > _MAX_READS:
                        ended = "larger than what is kept"
                        break
            except Exception as error:
                ended = type(error).__name__
            response.http_response.close()
        # The client knows when it sent the request; the server has no part in what it did before.
        sent = time.monotonic() - response.http_response.elapsed.total_seconds()
        timed = tuple((max(seconds - sent, 0.0), data) for seconds, data in reads)
        answer = RecordedAnswer(question.asked, timed, ended=ended, content_type=kind)
        if _is_page(kind, answer.body):
            raise Undone(
                f"{self.address} answers with an HTML page and no stream: is it the base URL of the API? {_V1}"
            )
        return Reply(question, round, "answered", status=response.status_code, answer=answer)

    def _connect(self) -> None:
        import openai

        if self._client is not None:
            return
        try:
            self._client = openai.OpenAI(
                base_url=self.base_url,
                api_key=self.key or "none",
                default_headers=dict(self.headers),
                timeout=self.timeout,
                max_retries=0,
            )
        except Exception as error:  # of an address, or a proxy of the environment, that no client can be made for
            raise Undone(f"{self.address} cannot be asked ({self.shown(str(error))}).") from None

    def _api(self, question: Question) -> Any:
        return getattr(self._client.chat if question.api == "chat" else self._client, _APIS[question.api], None)

    @contextmanager
    def _opened(self, question: Question) -> Iterator[Any]:
        """Open the response to a question, its body not yet read."""
        api = self._api(question)
        tokens = question.tokens or TOKENS
        if question.api == "chat":
            given = {"messages": [{"role": "user", "content": question.prompt}], "stream": True}
            more = {self._limit_name: tokens, **question.arguments}
        else:
            given = {"input": question.prompt, "stream": True}
            more = {"max_output_tokens": tokens, "store": False, **question.arguments}
        # In the body as it is: older clients do not know every member.
        with api.with_streaming_response.create(model=self.model, extra_body=more, **given) as response:
            yield response

    # --- what can go wrong, in sentences

    def _refusal(self, question: Question, round: int, error: Any) -> Reply:
        status, said = error.status_code, self._said(error)
        page = _is_page(error.response.headers.get("content-type", ""), b"")
        if status in (401, 403):
            raise Undone(f"The endpoint does not accept the key (HTTP {status}{said}). {_KEY}")
        if status == 402:
            raise Undone(f"The account cannot pay for this (HTTP 402{said}).")
        if status == 429:
            raise Undone(f"The endpoint takes no more requests for now (HTTP 429{self._wait(error)}{said}). {_LESS}")
        if status in (404, 405, 501) and question.api == "responses":
            return Reply(question, round, "not_offered", f"No Responses API here (HTTP {status}).", status)
        if page or status in (404, 405):
            where = (
                f"{self.address} has no chat completions for the model {printable(self.model)} (HTTP {status}{said})."
            )
            raise Undone(f"{where} {_V1}")
        state = "failed" if status >= 500 else "refused"
        verb = "fails on" if state == "failed" else "does not take"
        return Reply(question, round, state, f"The endpoint {verb} this request (HTTP {status}{said}).", status)

    def _late(self, question: Question, round: int) -> Reply:
        message = f"No answer within {self.timeout:g} s."
        if not self.answered:
            raise Undone(f"{self.address}: {message} It may be loading the model: --timeout waits longer.")
        return Reply(question, round, "failed", message, 0)

    def _unreachable(self, error: Exception) -> str:
        causes = list(_causes(error))
        texts = " ".join(str(cause) for cause in causes)
        host = self.shown(urlsplit(self.base_url).netloc.rpartition("@")[2])
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes) or "CERTIFICATE_VERIFY" in texts:
            return f"The TLS certificate of {host} is not trusted here: SSL_CERT_FILE can name its authority."
        if any(isinstance(cause, ssl.SSLError) for cause in causes) or "SSL" in texts:
            return f"{host} does not speak TLS as it should: is the base URL to begin with http:// instead of https://?"
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes) or "refused" in texts:
            return f"Nothing listens at {host} (connection refused): is the server up, and the port right?"
        if any(word in texts for word in ("Name or service", "getaddrinfo", "nodename", "name resolution")):
            return f"The name {host} cannot be resolved: is it spelled right, and is there a network?"
        if "disconnected" in texts or "peer closed" in texts:
            return f"{host} closes the connection without an answer: does it speak plain HTTP, and at this port?"
        return f"{host} cannot be reached ({self.shown(str(causes[-1]) or type(causes[-1]).__name__)})."

    def _said(self, error: Any) -> str:
        """Return the server's own words, where it has any."""
        body = error.body if isinstance(error.body, dict) else {}
        message = body.get("message") or body.get("detail")
        return f": {self.shown(message)}" if isinstance(message, str) and message.strip() else ""

    def _wait(self, error: Any) -> str:
        after = error.response.headers.get("retry-after", "")
        return f", again in {after} s" if after.isascii() and after.isdigit() and len(after) < 8 else ""


_APIS = {"chat": "completions", "responses": "responses"}
_V1 = "A base URL mostly ends in /v1."
_KEY = "Set OPENAI_API_KEY, or name another variable with --api-key-env."
_LESS = "Wait, or ask less with --only."


def _is_page(content_type: str, body: bytes) -> bool:
    return "text/html" in content_type.lower() or body[:200].lstrip().lower().startswith((b"<!doctype", b"<html"))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what caused it, as deep as the chain goes."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
