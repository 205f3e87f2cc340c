"""Ctrl-C, SIGTERM and a closed terminal, each ending what runs within seconds and in good order."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import psutil

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_AGAIN_SECONDS = 1.0
_WORKERS_SECONDS = 10.0
_AT_LAST_SECONDS = 20.0


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    received: int | None = None
    received_at = 0.0
    ending = False
    understood = threading.Event()  # set with `ending`


@contextlib.contextmanager
def interruptible(worker: bool = False) -> Iterator[None]:
    """Within the block, a signal raises Interrupted, again each second until `ending` is called.

    An exception raised by a handler is lost where it meets a finalizer or a callback of compiled code, hence again.
    A second signal, a second later, ends the process at once; in a `worker` of a sweep it is ignored, as the sweep's
    own process passes signals on to workers that have them already.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if _State.received is not None:
            if not worker and time.monotonic() - _State.received_at > _AGAIN_SECONDS:
                os._exit(128 + number)
            return
        _State.received, _State.received_at = number, time.monotonic()
        threading.Thread(target=_end_at_last, args=(number, _State.understood), daemon=True).start()
        if not worker:
            _end_workers()
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS, _AGAIN_SECONDS)
        raise Interrupted(number)

    def again(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if _State.received is not None and not _State.ending:
            raise Interrupted(_State.received)

    # nohup, for one, has SIGHUP ignored
    handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def unraisable(lost: "sys.UnraisableHookArgs") -> None:
        if not isinstance(lost.exc_value, Interrupted):
            sys.__unraisablehook__(lost)

    before = {number: signal.signal(number, handle) for number in handled}
    if hasattr(signal, "SIGALRM"):
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, again)
    _State.received, _State.ending, _State.understood = None, False, threading.Event()
    sys.unraisablehook, hook_before = unraisable, sys.unraisablehook
    try:
        yield
    finally:
        ending()
        sys.unraisablehook = hook_before
        for number, handler in before.items():
            signal.signal(number, handler)


def ending() -> None:
    """The signal has been understood: from here on, nothing is raised any more."""
    _State.ending = True
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    _State.understood.set()


def _end_at_last(number: int, understood: threading.Event) -> None:
    """End the process if no run understands the signal, as where an exception was raised while a lock was held."""
    if understood.wait(_AT_LAST_SECONDS):
        return
    print("The run did not end in good order and was broken off; the next command takes it up.", file=sys.stderr)
    os._exit(128 + number)


def _end_workers() -> None:
    """Ask joblib's workers to end, and wait for them: joblib itself kills them before their runs are ended."""
    workers = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = " ".join(child.cmdline())
            if "loky" in words and "resource_tracker" not in words:
                child.terminate()
                workers.append(child)
    if workers:
        print("Interrupted; waiting for the runs to end.", file=sys.stderr)
        psutil.wait_procs(workers, timeout=_WORKERS_SECONDS)
