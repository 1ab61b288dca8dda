"""A web application as the guides have it: asks a model on each request, and answers with its text. WSGI and ASGI."""

import os

from openai import AsyncOpenAI, OpenAI
from streamwatch import flush

QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "count!"}], "stream": True}


def wsgi(environ, start_response):
    text = ""
    for chunk in OpenAI().chat.completions.create(**QUESTION):
        text += chunk.choices[0].delta.content or ""
    start_response("200 OK", [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [text.encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    text = ""
    async for chunk in await AsyncOpenAI().chat.completions.create(**QUESTION):
        text += chunk.choices[0].delta.content or ""
    headers = [(b"content-type", b"text/plain"), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    flush()  # uvicorn ends by the signal that it was sent, and not by Python's own end
    await send({"type": "lifespan.shutdown.complete"})
