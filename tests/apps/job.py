"""A short job: asks a model three times, and ends. Pushes its metrics where PUSHGATEWAY says."""

import os
import signal
import sys

from openai import OpenAI

# A job that is stopped ends as one that is done, and so sends what it has.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

question = [{"role": "user", "content": "count!"}]
for _ in range(3):
    with OpenAI().chat.completions.create(model="gpt-4o", messages=question, stream=True) as stream:
        print("".join(chunk.choices[0].delta.content or "" for chunk in stream), flush=True)

if "PUSHGATEWAY" in os.environ:
    from prometheus_client import REGISTRY, push_to_gateway

    push_to_gateway(os.environ["PUSHGATEWAY"], job="nightly", registry=REGISTRY)
elif "WAIT" in os.environ:
    signal.pause()
