"""The letters that any text may hold, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

#: All that UTF-8 can encode, as in `st.text()`, which takes 2 s in each process of a first run to find out which these are.
LETTERS = st.characters(exclude_categories=["Cs"])
