"""A quick run: fewer examples, a sample of what is slow, and the cases of a test in one item.

`make test` runs the tests with `--quick`, and `make test-all` without it. Each property is checked in both: a quick run
draws fewer examples for it, always the same ones. What stays out altogether is marked `slow`.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, ClassVar, TypeVar

import pytest

T = TypeVar("T")
#: Of so many examples a quick run draws one; and it draws this many at least.
SHARE, FEWEST = 10, 6
#: Cases that are items of their own, as they need a fixture: of a test without a mark, so many are drawn.
MOST_ITEMS = 2
#: Cases in one item at most: items are what the processes of a run share.
MOST_CASES = 150
#: Failed cases after which the others of an item are not run.
MOST_FAILURES = 5


class _Mode:
    quick = False
    #: Ids of the cases that stand for others as well -> all of these.
    standing: ClassVar[dict[int, list[Any]]] = {}


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


def before_items(metafunc: pytest.Metafunc) -> None:
    """Draw the cases of a test, and let one stand for all, before they are items: most items would not stay.

    Each costs 0.2 ms in each process of a run. Tests of which single cases have marks are left to `fewer`.
    """
    cases, test = metafunc._calls, metafunc.definition
    if len(cases) < 2 or any(case.marks for case in cases):
        return
    if test.get_closest_marker("slow") is not None:
        del cases[1:]  # it is left out
        return
    plain = all(_is_plain(test, case) for case in cases)
    cases[:] = _drawn(test, test.name, cases, plain=plain)
    if plain:
        _Mode.standing[id(cases[0])] = list(cases)
        del cases[1:]


def fewer(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return items without the cases that a quick run leaves out.

    A test with the mark `quick_cases(n)` keeps n of its cases, drawn by its name: always the same ones. Without a mark
    it keeps all of them if they need no fixture, and else a few. Cases at equal distances would all have one value of
    the parameter that changes fastest.
    """
    found: list[pytest.Item] = []
    for (_, name), group in itertools.groupby(items, key=_test_of):
        cases = list(group)
        plain = all(hasattr(case, "callspec") and _is_plain(case, case.callspec) for case in cases)
        found += _drawn(cases[0], name, cases, plain=plain)
    return found


def together(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return items of which each runs many cases of a test: an item of its own costs more than a case of most tests.

    Tests stay as they are that have a fixture or a mark, or that run in a loop: what these do is done for each case.
    """
    found: list[pytest.Item] = []
    for _, group in itertools.groupby(items, key=_test_of):
        tests = list(group)
        cases = [case for test in tests for case in _cases_of(test)]
        plain = len(cases) > 1 and all(_is_plain(test, test.callspec) for test in tests)  # type: ignore[attr-defined]
        found += _joined(tests[0], cases) if plain else tests
    return found


def _test_of(item: pytest.Item) -> tuple[object, str]:
    name = getattr(item, "originalname", None) if hasattr(item, "callspec") else None
    return item.parent, name or item.nodeid


def _cases_of(item: pytest.Item) -> list[Any]:
    """Return the cases that an item stands for."""
    case = getattr(item, "callspec", None)
    return _Mode.standing.get(id(case), [case])


def _drawn(test: pytest.Item, name: str, cases: list[T], *, plain: bool) -> list[T]:
    """Return the cases of a test that a quick run has; `plain` ones cost no item each."""
    mark = test.get_closest_marker("quick_cases")
    most = mark.args[0] if mark is not None else len(cases) if plain else MOST_ITEMS
    if most >= len(cases):
        return cases
    return [cases[number] for number in sorted(Random(name).sample(range(len(cases)), most))]


def _is_plain(test: pytest.Item, case: Any) -> bool:
    """Return whether a case of a test needs nothing but the values of its parameters."""
    if not isinstance(test, pytest.Function) or getattr(test.obj, "is_hypothesis_test", False):
        return False
    if inspect.iscoroutinefunction(test.obj) or inspect.isasyncgenfunction(test.obj):
        return False
    arguments = _needed(test.obj)
    marks = [mark for mark in test.own_markers if mark.name != "quick_cases"]
    direct = all(mark.name == "parametrize" and not mark.kwargs.get("indirect") for mark in marks)
    # The parameters of a fixture are among those of the case, too.
    named = {name for mark in test.iter_markers("parametrize") for name in _names(mark.args[0])}
    return direct and arguments == set(case.params) and arguments <= named


@functools.cache
def _needed(test: Callable[..., object]) -> frozenset[str]:
    """Return the arguments that a test has to be given: to read a signature takes longer than to compare a case."""
    parameters = inspect.signature(test).parameters
    return frozenset(name for name, each in parameters.items() if each.default is each.empty)


def _names(arguments: str | Sequence[str]) -> list[str]:
    return [name.strip() for name in arguments.split(",")] if isinstance(arguments, str) else list(arguments)


def _joined(first: pytest.Item, cases: list[Any]) -> list[pytest.Item]:
    """Return the items for the cases of one test."""
    assert isinstance(first, pytest.Function)
    found: list[pytest.Item] = []
    for start_at in range(0, len(cases), MOST_CASES):
        some = cases[start_at : start_at + MOST_CASES]
        name = f"{first.originalname}[{start_at + 1}-{start_at + len(some)} of {len(cases)}]"
        found.append(pytest.Function.from_parent(first.parent, name=name, callobj=_running(first.obj, some)))
    return found


def _running(test: Callable[..., object], cases: list[Any]) -> Callable[[], None]:
    def run() -> None:
        skipped: list[str] = []
        failed = list(itertools.islice(_failures(test, cases, skipped), MOST_FAILURES))
        if failed:
            raise _named(failed)
        if skipped:
            pytest.skip(f"{len(skipped)} of {len(cases)} cases: {skipped[0]}")

    return run


def _failures(test: Callable[..., object], cases: list[Any], skipped: list[str]) -> Iterator[tuple[str, BaseException]]:
    """Run cases, and give the names and the exceptions of those that fail; note the reasons of those that skip."""
    for case in cases:
        try:
            test(**case.params)
        except pytest.skip.Exception as reason:
            skipped.append(str(reason))
        except (Exception, pytest.fail.Exception) as error:
            yield case.id, error


def _named(failed: list[tuple[str, BaseException]]) -> BaseException:
    """Return the first failure, with the names of all of them."""
    names, error = ", ".join(name for name, _ in failed), failed[0][1]
    note = f"of the case {failed[0][0]}; failed: {names}. Without --quick each case is a test of its own."
    if isinstance(error, pytest.fail.Exception):
        error.msg = f"{error.msg}\n{note}"
    else:
        error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]
    return error
