"""One module for each API: what its events are, and what can go wrong with them."""
