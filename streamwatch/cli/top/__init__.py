"""`streamwatch top`: the streams of running applications, live."""
