"""What Python lacks on Windows, taken away: imported first of all, in a process of its own.

The standard library and the other packages are imported before, as they are for Linux here. What is left to see is
whether Streamwatch itself asks for something that is not there. It is a simulation: nothing here shows what Windows does
instead.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
from typing import Any

#: Functions of `os` that Windows does not have.
OF_OS = (
    *(
        "chown",
        "chroot",
        "confstr",
        "fchown",
        "fork",
        "forkpty",
        "getegid",
        "geteuid",
        "getgid",
        "getgroups",
        "getloadavg",
    ),
    *(
        "getpgid",
        "getpgrp",
        "getpriority",
        "getsid",
        "getuid",
        "initgroups",
        "killpg",
        "lchown",
        "mkfifo",
        "mknod",
        "nice",
    ),
    *(
        "openpty",
        "pipe2",
        "posix_fallocate",
        "posix_spawn",
        "posix_spawnp",
        "pread",
        "pwrite",
        "readv",
        "register_at_fork",
    ),
    *(
        "sched_getaffinity",
        "sched_yield",
        "sendfile",
        "setgid",
        "setsid",
        "setuid",
        "statvfs",
        "sync",
        "sysconf",
        "uname",
    ),
    *("wait", "wait3", "wait4", "waitid", "writev"),
)
#: The signals that it has.
SIGNALS = {"SIGABRT", "SIGBREAK", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
#: Modules that it does not have.
MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")

_select = select.select


def select_sockets(reading: Any, writing: Any, failing: Any, seconds: float | None = None) -> Any:
    """Wait for sockets, and refuse anything else: pipes, terminals, files."""
    for one in (*reading, *writing, *failing):
        number = one if isinstance(one, int) else one.fileno()
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise OSError(10038, "An operation was attempted on something that is not a socket")
    return _select(reading, writing, failing, seconds)


def take_away() -> None:
    """Leave Python what it has on Windows."""
    for name in OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in dir(signal):
        if name.startswith("SIG") and not name.startswith("SIG_") and name not in SIGNALS:
            delattr(signal, name)
    for name in ("alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"):
        delattr(signal, name)
    for name in ("poll", "epoll"):
        if hasattr(select, name):
            delattr(select, name)
    select.select = select_sockets
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
