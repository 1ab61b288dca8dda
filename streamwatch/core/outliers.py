"""Numbers that stand alone: a wrong one looks like an event that came early.

Where what should stand before such an event never comes, nothing but the number itself says that it belongs behind
what came after it. It goes on as it came.
"""

from __future__ import annotations

from itertools import accumulate

from streamwatch.core.answer_parts import TERMINAL
from streamwatch.core.sequence import Numbers


def leave_out(numbers: Numbers) -> bool:
    """Go by the numbers that stand alone no longer, and return whether there are some."""
    alone = _alone(numbers)
    for number in alone:
        numbers.leave_out(number)
    if alone:
        numbers.highest = max(numbers.held)
        came = zip(numbers.held, accumulate(numbers.held, max), strict=True)
        numbers.late = {number for number, highest in came if number < highest}
    return bool(alone)


def _alone(numbers: Numbers) -> list[int]:
    """Return numbers that are held, and that nothing bears out: lower ones came later, and they follow a hole."""
    held = sorted(numbers.held)
    arrival = {number: at for at, number in enumerate(numbers.held)}
    ends = [number for number, event in numbers.held.items() if event.payload.get("type") in TERMINAL]
    alone: list[int] = []
    while held:
        start = len(held) - 1
        while start and held[start - 1] == held[start] - 1 and held[start - 1] not in ends:
            start -= 1
        run, lower = held[start:], held[:start]
        came = min(arrival[number] for number in run)
        later = [number for number in lower if arrival[number] > came]
        if not later:
            break
        # No number is behind that of the end.
        is_behind_the_end = bool(ends) and run[0] > max(ends)
        # Losses, while others overtake each other, leave less missing than came.
        is_far = run[0] - lower[-1] - 1 > len(arrival)
        if not (is_behind_the_end or is_far or _stands_for_others(numbers.expected, run, lower, later)):
            break
        alone += run
        held = lower
    return alone


def _stands_for_others(expected: int, run: list[int], lower: list[int], later: list[int]) -> bool:
    """Return whether a run came in the place of as many numbers that never came: one fault, and not several."""
    sooner = [number for number in lower if number not in later]
    return min(later) - max(sooner, default=expected - 1) - 1 == len(run)
