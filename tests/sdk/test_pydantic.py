"""Both generations of pydantic: objects are built with the second, and with the first the SDK constructs them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk

from helpers import sdk
from streamwatch.sdk.chunk_builder import ChunkBuilder


def test_objects_are_built_with_pydantic_2_alone() -> None:
    """Of its models alone it is known what they hold."""
    lessons = []

    def construct(value: Any, type_: Any) -> Any:
        lessons.append(value)
        return construct_type(value=value, type_=type_)

    known = ChunkBuilder(construct, ChatCompletionChunk)
    payloads = sdk.chat(*"abcdefgh")
    for payload in payloads:
        known.build(payload)

    assert (len(lessons) == len(payloads)) is sdk.PYDANTIC_1


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("api", sdk.APIS)
def test_streams_are_the_plain_sdks(mode: str, api: str, watch: Callable[..., Any]) -> None:
    """Same classes, same values; read twice, as what is learned of the first stream serves the second."""
    plain = sdk.read(mode, sdk.healthy(api), api)
    watched = watch(repair="none")

    assert [sdk.read(mode, sdk.healthy(api), api) for _ in range(2)] == [plain, plain]
    watched.settle()
    assert ["complete", "complete"] == [report.verdict for report in watched.reports]
    assert len(plain.chunks) > 4
    assert plain.error is None
