"""Streams as servers send them, and ways to break them: for the doctor, the demo and the tests."""
