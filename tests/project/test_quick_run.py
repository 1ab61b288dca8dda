"""A quick run joins the cases of a test, loses none of them, and says which one failed."""

from __future__ import annotations

import pytest

from helpers import quick

CONFTEST = """
from helpers import quick
def pytest_collection_modifyitems(items):
    items[:] = quick.together(quick.fewer(items))
"""
#: The same, where cases are drawn and joined before they are items.
BEFORE_ITEMS = f"""{CONFTEST}
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc):
    yield
    quick.before_items(metafunc)
"""
conftests = pytest.mark.parametrize("conftest", [CONFTEST, BEFORE_ITEMS], ids=["items", "before"])
TESTS = """
import pytest
RAN = []

@pytest.mark.parametrize("number", range(151))
def test_plain(number):
    RAN.append(number)
    if number in (3, 5):
        pytest.fail("odd") if number == 5 else None
        assert number == 4

@pytest.mark.parametrize("name", ["a", "b"])
def test_with_a_fixture(name, tmp_path):
    assert tmp_path.exists()

@pytest.fixture(params=["a", "b"])
def given(request):
    return ord(request.param)

def test_with_a_fixture_of_several_values(given):
    assert given in (97, 98)

@pytest.mark.parametrize("name", ["a", "b"])
def test_that_skips(name):
    if name == "b":
        pytest.skip("no b here")

def test_all_ran():
    assert RAN == list(range(151))
"""


@pytest.mark.quick_cases(1)
@conftests
def test_cases_run_together_and_are_named_where_they_fail(conftest: str, pytester: pytest.Pytester) -> None:
    """All of them, 150 in an item; tests with a fixture stay as they are, and a case that skips is told."""
    pytester.makeconftest(conftest)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio", "-rs", "--tb=short")

    result.assert_outcomes(passed=6, failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*test_plain?1-150 of 151?*",
            "*of the case 3; failed: 3, 5. Without --quick each case is a test of its own.",
            "*SKIPPED*1 of 2 cases: no b here",
        ]
    )


FEW = """
import pytest

@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("letter", "abcdef")
@pytest.mark.parametrize("number", range(4))
def test_of_many_cases(letter, number, tmp_path):
    print("ran", letter, number)
"""


@pytest.mark.quick_cases(1)
@conftests
def test_a_test_may_say_how_many_of_its_cases_run(conftest: str, pytester: pytest.Pytester) -> None:
    """So many, always the same ones, and of each parameter more values than one."""
    pytester.makeconftest(
        f"{conftest}\nimport pytest\ndef pytest_configure(config):\n    config.addinivalue_line('markers', 'quick_cases(n): few')"
    )
    pytester.makepyfile(FEW)
    (ran, again) = (
        [
            line
            for line in pytester.runpytest(
                "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio", "-s", "-q"
            ).outlines
            if "ran " in line
        ]
        for _ in range(2)
    )

    assert ran == again
    assert len(ran) == 3
    letters, numbers = zip(*(line.split()[-2:] for line in ran), strict=True)
    assert len(set(letters)) > 1
    assert len(set(numbers)) > 1


@pytest.mark.parametrize(("is_quick", "expected"), [(False, (400, 40, 5)), (True, (40, 6, 5))])
def test_a_quick_run_draws_a_tenth(
    is_quick: bool, expected: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many examples one of ten, of few as many as are needed; of cases the first, and others at equal distances."""
    monkeypatch.setattr(quick._Mode, "quick", is_quick)

    assert tuple(map(quick.examples, (400, 40, 5))) == expected
    assert quick.sample(range(12), 4) == ([0, 3, 6, 9] if is_quick else list(range(12)))
