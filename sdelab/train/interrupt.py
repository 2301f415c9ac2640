"""Ctrl-C between two steps of training, and not within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only makes ``asked()`` true; a second one interrupts at once, as ever.

    Nothing changes and ``asked()`` stays false where Ctrl-C is ignored, as in background jobs, and outside the main
    thread, to which alone Python delivers signals.
    """
    came = False

    def asked() -> bool:
        return came

    def note(number, frame) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    before = signal.getsignal(signal.SIGINT)  # None: a handler that is not Python's, and not ours to restore
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield asked
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
