"""The page of errors: what a person finds who searches for the text of an exception."""

from __future__ import annotations

from collections.abc import Iterator

from streamwatch.cli.kinds.errors import KNOWN_ERRORS, KnownError


def sections() -> Iterator[str]:
    """Yield the page, a part at a time."""
    yield (
        "This page lists the errors that streams of the `openai` client end in: what happened, the corrected line of"
        " code, and what Streamwatch does about it. Search it for the text of your exception, or let a command do that:"
    )
    yield "```console\n$ cat traceback.txt | streamwatch explain\n```"
    for error in KNOWN_ERRORS:
        yield f"## {_title(error)}"
        yield error.happened
        yield _code(error)
        yield f"**Streamwatch**: {error.does}"
        yield " ".join(_links(error))


def _title(error: KnownError) -> str:
    return error.title.replace("<", "&lt;").replace("`", "")


def _code(error: KnownError) -> str:
    """Return the wrong line with the right one, or advice where no line is wrong."""
    return f"```diff\n- {error.before}\n+ {error.after}\n```" if error.before else error.after


def _links(error: KnownError) -> Iterator[str]:
    """Yield where to read on: the kinds that can be behind an error, and a public thread about it."""
    if error.kinds:
        yield f"Kinds: {', '.join(f'[`{kind}`](kinds.md#{kind})' for kind in error.kinds)}."
    if error.url:
        yield f"A thread about it: <{error.url}>."
