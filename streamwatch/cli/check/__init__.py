"""`streamwatch check`: what is wrong in a recorded stream, where, and what client code gets of it."""
