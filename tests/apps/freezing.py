"""Lambda's runtime, as far as it matters here: calls the handler for each line, and is frozen as soon as it returns."""

import json
import os
import signal
import sys

from lambda_function import handler

for line in sys.stdin:
    print(json.dumps(handler(json.loads(line), None)), flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
