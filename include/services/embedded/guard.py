"""No process is left behind, neither after Ctrl-C nor after a crash."""

import ctypes
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import psutil

GRACE = 8  # seconds between asking a process to end and killing it
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Interrupted(BaseException):
    """We were asked to end (Ctrl-C, SIGTERM). Not an Exception, so that nothing on the way swallows it."""


def guarded(work: Callable[[], int], clean_up: Callable[[], None]) -> int:
    """Run ``work`` in a child process, and end all that it started when either of the two processes ends.

    :param clean_up: removes what is left then; called in whichever process is still there, or in both.
    :return: what ``work`` returned, or 130 if it was interrupted.
    """
    sys.stdout.flush()
    _adopt_orphans()
    alive, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(held)
        os._exit(_child(work, clean_up, alive))
    os.close(alive)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: _pass_on_to(child))
    _, status = os.waitpid(child, 0)
    end_descendants()
    clean_up()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def descendants(root: int) -> list[psutil.Process]:
    """All processes below the one with this id.

    `psutil.Process.children` compares times of start to see whether an id was used again. These contain the time of
    boot, which the kernel works out anew for each reading: now and then it differs by a second, and children are lost.
    """
    below: dict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter(["ppid"]):
        below[process.info["ppid"]].append(process)
    found: list[psutil.Process] = []
    parents = [root]
    while parents:
        children = below.pop(parents.pop(), [])
        found += children
        parents += [child.pid for child in children]
    return found


def ask_descendants_to_end(root: int | None = None) -> list[psutil.Process]:
    """Ask all processes below ``root`` (default: this one) to end, and leave it to their parents to wait for them."""
    processes = descendants(root or os.getpid())
    for process in processes:
        _signal(process, signal.SIGTERM)
    return processes


def end_descendants(root: int | None = None) -> None:
    """Ask all processes below ``root`` (default: this one) to end; kill those that do not within `GRACE` seconds.

    A thread of this process that waits for one of them may not learn how it ended, as that was asked for here.
    """
    processes = ask_descendants_to_end(root)
    _, left = psutil.wait_procs(processes, timeout=GRACE)
    for process in left:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=GRACE)


def _child(work: Callable[[], int], clean_up: Callable[[], None], alive: int) -> int:
    os.setsid()  # Ctrl-C reaches the parent alone, which passes it on: so the services are stopped in order
    _adopt_orphans()
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(alive, clean_up), daemon=True).start()
    try:
        return work()
    except Interrupted:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last line of defence: whatever it is, say it and end the children
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        end_descendants()
        sys.stdout.flush()
        sys.stderr.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; a second one must not break the orderly end
    raise Interrupted


def _end_with_parent(alive: int, clean_up: Callable[[], None]) -> None:
    os.read(alive, 1)  # returns only when the parent is gone, however it ended
    end_descendants()
    clean_up()
    os._exit(1)


def _pass_on_to(child: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that it can find and end them (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
