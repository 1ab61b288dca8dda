"""Bytes in, events and a report out: no I/O, nothing but the standard library."""
