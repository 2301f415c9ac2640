"""Ctrl-C between two steps of training, and not within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only makes ``asked()`` true; a second one interrupts at once, as ever.

    Python delivers signals to its main thread alone: in another thread nothing changes and ``asked()`` stays false.
    """
    came = False

    def asked() -> bool:
        return came

    def note(number, frame) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:  # None: not Python's to restore
        yield asked
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
