"""The console entry point, also as ``python -m charrnn``: Ctrl-C works from its first line on."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line; an interrupt at any moment ends it with 130 and no traceback."""
    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in background jobs
            signal.signal(signal.SIGINT, interrupt)
        try:
            import charrnn.system.launcher  # noqa: F401 - ``end`` needs it early
            from charrnn.cli.main import main as run  # slow, so the handler is set first

            run()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left but to exit
    except KeyboardInterrupt:  # before or after what ``run`` catches
        end(128 + signal.SIGINT)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; during an import, where it could get lost, end the process.

    An import may drop the exception in a callback, with a traceback, or turn it into another:
    that of NumPy makes it an ImportError. No import leaves anything that needs cleaning up.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            end(128 + number)
        frame = frame.f_back
    raise KeyboardInterrupt


def end(code: int) -> None:
    """Exit at once, with the processes that were started with this one."""
    launcher = sys.modules.get("charrnn.system.launcher")  # it may not be imported yet
    getattr(launcher, "end_now", os._exit)(code)


if __name__ == "__main__":
    main()
