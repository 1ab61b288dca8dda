"""The Agents SDK: `Runner.run_streamed`, with a tool for every name on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from agents import Agent, FunctionTool, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, set_tracing_disabled
from recorded import API_KEY, MODEL, TIMEOUT, Computed, Recording, main

set_tracing_disabled(True)


def read(recording: Recording, computed: Computed) -> None:
    """One turn of an agent."""
    asyncio.run(run(recording, computed))


async def run(recording: Recording, computed: Computed) -> None:
    """Every event, the tools that were called, and the final output."""

    def tool(name: str) -> FunctionTool:
        async def call(_context: Any, arguments: str) -> str:
            computed.tools.append((name, arguments))
            return "called"

        schema = {"type": "object", "properties": {}, "additionalProperties": True}
        return FunctionTool(name, "A tool.", schema, call, strict_json_schema=False)

    async with openai.AsyncOpenAI(
        api_key=API_KEY, base_url=recording.base_url, max_retries=0, timeout=TIMEOUT
    ) as client:
        shape = OpenAIResponsesModel if recording.api == "responses" else OpenAIChatCompletionsModel
        agent = Agent(
            name="agent",
            model=shape(model=MODEL, openai_client=client),
            tools=[tool(name) for name in recording.tool_names] if recording.is_tool_call else [],
            tool_use_behavior="stop_on_first_tool",
        )
        result = Runner.run_streamed(agent, "Hello", max_turns=1)
        async for event in result.stream_events():
            if event.type == "raw_response_event":
                # An item that was announced goes on growing behind the reader's back, at the scheduler's mercy.
                grows = {"item": {"content", "summary"}} if event.data.type == "response.output_item.added" else None
                computed.chunks.append(event.data.model_dump(exclude_unset=True, warnings=False, exclude=grows))
                if event.data.type == "response.output_text.delta":
                    computed.text += event.data.delta
            elif event.type == "run_item_stream_event":
                computed.chunks.append({"name": event.name, "raw_item": event.item.raw_item})
        computed.final = {
            "output": result.final_output,
            "items": [item.raw_item for item in result.new_items],
            "usage": result.context_wrapper.usage,
        }


if __name__ == "__main__":
    main(read)
