"""A quick run: fewer examples, a sample of what is slow, and the cases of a test in one item.

`make test` runs the tests with `--quick`, and `make test-all` without it. Each property is checked in both: a quick run
draws fewer examples for it, always the same ones. What stays out altogether is marked `slow`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TypeVar

import pytest

T = TypeVar("T")
#: Of so many examples a quick run draws one; and it draws this many at least.
SHARE, FEWEST = 10, 6
#: Cases in one item at most: items are what the processes of a run share.
MOST_CASES = 150
#: Failed cases after which the others of an item are not run.
MOST_FAILURES = 5


class _Mode:
    quick = False


def start(*, quick: bool) -> None:
    """Set the mode, before test modules are imported."""
    _Mode.quick = quick


def is_quick() -> bool:
    """Return whether this run is a quick one."""
    return _Mode.quick


def examples(full: int, fewest: int = FEWEST) -> int:
    """Return how many examples to draw, of those that a full run draws."""
    return max(full // SHARE, min(full, fewest)) if _Mode.quick else full


def sample(cases: Sequence[T], most: int) -> list[T]:
    """Return all cases, or in a quick run at most so many: the first one, and others at equal distances."""
    if not _Mode.quick or len(cases) <= most:
        return list(cases)
    return [cases[number * len(cases) // most] for number in range(most)]


def fewer(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return items without the cases that a quick run leaves out.

    A test with the mark `quick_cases(n)` keeps n of its cases, drawn by its name: always the same ones. Cases at equal
    distances would all have one value of the parameter that changes fastest.
    """
    found: list[pytest.Item] = []
    for (_, name), group in itertools.groupby(items, key=_test_of):
        cases = list(group)
        mark = cases[0].get_closest_marker("quick_cases")
        if mark is not None and mark.args[0] < len(cases):
            kept = sorted(Random(name).sample(range(len(cases)), mark.args[0]))
            cases = [cases[number] for number in kept]
        found += cases
    return found


def together(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return items of which each runs many cases of a test: an item of its own costs more than a case of most tests.

    Tests stay as they are that have a fixture or a mark, or that run in a loop: what these do is done for each case.
    """
    found: list[pytest.Item] = []
    for _, group in itertools.groupby(items, key=_test_of):
        cases = list(group)
        found += _joined(cases) if len(cases) > 1 and all(map(_is_plain, cases)) else cases
    return found


def _test_of(item: pytest.Item) -> tuple[object, str]:
    name = getattr(item, "originalname", None) if hasattr(item, "callspec") else None
    return item.parent, name or item.nodeid


def _is_plain(item: pytest.Item) -> bool:
    """Return whether a case needs nothing but the values of its parameters."""
    if type(item) is not pytest.Function or getattr(item.obj, "is_hypothesis_test", False):
        return False
    arguments = {name for name, each in inspect.signature(item.obj).parameters.items() if each.default is each.empty}
    marks = [mark for mark in item.own_markers if mark.name != "quick_cases"]
    direct = all(mark.name == "parametrize" and not mark.kwargs.get("indirect") for mark in marks)
    return direct and arguments == set(item.callspec.params)


def _joined(cases: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items for the cases of one test."""
    first = cases[0]
    assert isinstance(first, pytest.Function)
    found: list[pytest.Item] = []
    for start_at in range(0, len(cases), MOST_CASES):
        some = cases[start_at : start_at + MOST_CASES]
        name = f"{first.originalname}[{start_at + 1}-{start_at + len(some)} of {len(cases)}]"
        found.append(pytest.Function.from_parent(first.parent, name=name, callobj=_running(some)))
    return found


def _running(cases: list[pytest.Item]) -> Callable[[], None]:
    def run() -> None:
        skipped: list[str] = []
        failed = list(itertools.islice(_failures(cases, skipped), MOST_FAILURES))
        if failed:
            raise _named(failed)
        if skipped:
            pytest.skip(f"{len(skipped)} of {len(cases)} cases: {skipped[0]}")

    return run


def _failures(cases: list[pytest.Item], skipped: list[str]) -> Iterator[tuple[str, BaseException]]:
    """Run cases, and give the names and the exceptions of those that fail; note the reasons of those that skip."""
    for case in cases:
        assert isinstance(case, pytest.Function)
        try:
            case.obj(**case.callspec.params)
        except pytest.skip.Exception as reason:
            skipped.append(str(reason))
        except (Exception, pytest.fail.Exception) as error:
            yield case.callspec.id, error


def _named(failed: list[tuple[str, BaseException]]) -> BaseException:
    """Return the first failure, with the names of all of them."""
    names, error = ", ".join(name for name, _ in failed), failed[0][1]
    note = f"of the case {failed[0][0]}; failed: {names}. Without --quick each case is a test of its own."
    if isinstance(error, pytest.fail.Exception):
        error.msg = f"{error.msg}\n{note}"
    else:
        error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]
    return error
