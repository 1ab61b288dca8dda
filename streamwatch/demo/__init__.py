"""`make demo`: a fault-injecting server, an ordinary application, and a live table of what was found.

streams.py    the streams a healthy server sends, event by event
faults.py     what goes wrong with them, and when: the table and the seeded schedule
server.py     an OpenAI-compatible HTTP server that sends them
app.py        an application as a user would have written it
measured.py   what the Prometheus endpoint says
table.py      how it is shown
__main__.py   starts the processes, watches them, ends them
"""
