"""Numbers that are wrong: one that stands alone looks like an event that came early, one that repeats like a copy.

Where what should stand before such an event never comes, nothing but the number itself says that it belongs behind
what came after it. It goes on as it came.
"""

from __future__ import annotations

from itertools import accumulate

from streamwatch.core.answer_parts import TERMINAL
from streamwatch.core.patience import Wait
from streamwatch.core.sequence import Numbers
from streamwatch.core.sse import Event


def let_repeats_stand(numbers: Numbers, followers: list[tuple[int, Event]], waiting: dict[Event, Wait]) -> None:
    """Take events that came again for those that never came, where there are as many of them: a number stood still.

    `followers` are those that wait behind a number, and `waiting` says how.
    """
    again = [waiting[event] for behind, event in followers if behind == numbers.expected and waiting[event].again]
    if len(again) >= min(numbers.held) - numbers.expected:
        for wait in again:
            wait.again = False


def leave_out(numbers: Numbers, *, in_vain: bool) -> bool:
    """Go by the numbers that stand alone no longer, and return whether there are some.

    `in_vain` says that what is missing does not come; until then, only a number above that of the end stands alone.
    """
    alone = _alone(numbers, in_vain=in_vain)
    for number in alone:
        numbers.leave_out(number)
    if alone:
        numbers.highest = max(numbers.held)
        came = zip(numbers.held, accumulate(numbers.held, max), strict=True)
        numbers.late = {number: None for number, highest in came if number < highest}
    return bool(alone)


def _alone(numbers: Numbers, *, in_vain: bool) -> list[int]:
    """Return numbers that are held although lower ones came later, and that no other number confirms."""
    held, ends = sorted(numbers.held), _ends(numbers)
    # Where nothing is missing, what follows the end is another response in the same body.
    border = ends if numbers.expected not in numbers.held else []
    alone: list[int] = []
    while len(held) > 1:
        run = _highest_run(held, border)
        lower = held[: -len(run)]
        if not lower or not _stands_alone(numbers, run, lower, ends, in_vain=in_vain):
            break
        alone += run
        held = lower
    return alone


def _ends(numbers: Numbers) -> list[int]:
    return [number for number, event in numbers.held.items() if event.payload.get("type") in TERMINAL]


def _highest_run(held: list[int], border: list[int]) -> list[int]:
    """Return the last numbers that follow each other, as far as a border."""
    start = len(held) - 1
    while start and held[start - 1] == held[start] - 1 and held[start - 1] not in border:
        start -= 1
    return held[start:]


def _stands_alone(numbers: Numbers, run: list[int], lower: list[int], ends: list[int], *, in_vain: bool) -> bool:
    came, among = list(numbers.held), set(run)
    first = next(place for place, number in enumerate(came) if number in among)
    later = [number for number in came[first:] if number <= lower[-1]]
    if not later:
        return False
    if ends and run[0] > max(ends):
        return True  # no number of a response is behind that of its end
    if not in_vain:
        return False
    if run[0] - lower[-1] - 1 > len(came):
        return True  # where events are lost and others overtake each other, less is missing than came
    # It came in the place of as many numbers that never came: that is one fault, and not several.
    sooner = max((number for number in came[:first] if number <= lower[-1]), default=numbers.expected - 1)
    return min(later) - sooner - 1 == len(run)
