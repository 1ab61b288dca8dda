"""What tutorials do: reads one answer with tool calls and one text, and says what it got. No word of Streamwatch."""

import json
import sys

from openai import OpenAI

client = OpenAI()


def chunks(question):
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)


def read_with_tools():
    text, arguments = "", ""
    for chunk in chunks("weather?"):
        delta = chunk.to_dict()["choices"][0]["delta"]
        text += delta["content"]
        for call in delta.get("tool_calls", []):
            arguments += call["function"]["arguments"]
    return [text, arguments]


def read_text():
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks("count!"))


def answer(read):
    try:
        return read()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


print(json.dumps({"tools": answer(read_with_tools), "text": answer(read_text)}), flush=True)
sys.stdin.read()  # stays, to be asked for its metrics
