"""`make demo`: a fault-injecting server, an ordinary application, and a live table of what was found.

`streams` holds what a healthy server sends, `faults` what goes wrong with it and when, `server` sends it;
`app` is the application; `measured` reads the Prometheus endpoint, `table` shows it, `__main__` runs it all.
"""
