"""Instructor: partial objects out of tool calls, or out of JSON in the text."""

from __future__ import annotations

import json

import instructor
import openai
from pydantic import BaseModel, ConfigDict
from recorded import API_KEY, MESSAGES, MODEL, TIMEOUT, Computed, Recording, main


class Anything(BaseModel):
    """Whatever the recorded object has."""

    model_config = ConfigDict(extra="allow")


def read(recording: Recording, computed: Computed) -> None:
    """Every partial object; the last one is the answer."""
    with openai.OpenAI(api_key=API_KEY, base_url=recording.base_url, max_retries=0, timeout=TIMEOUT) as plain:
        if recording.api == "responses":
            mode = instructor.Mode.RESPONSES_TOOLS
        else:
            mode = instructor.Mode.TOOLS if recording.is_tool_call else instructor.Mode.JSON
        client = instructor.from_openai(plain, mode=mode)
        for partial in client.create_partial(response_model=Anything, messages=MESSAGES, model=MODEL, max_retries=0):
            computed.chunks.append(partial.model_dump())
        computed.final = last = computed.chunks[-1] if computed.chunks else {}
        if recording.is_tool_call:
            computed.tools, computed.text = [("", json.dumps(last))], None  # it tells neither name nor text
        else:
            computed.text = json.dumps(last)


if __name__ == "__main__":
    main(read)
