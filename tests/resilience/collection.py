"""What a garbage collection can do: end a forgotten call at any point of any thread, also while that holds a lock."""

import sys
import threading


def at_each_line(module, prepare):
    """Run what ``prepare()`` makes, ``(run, end)``, once for each line of ``module``'s code that it gets to.

    Each time ``end()`` is called just before another line. What ``run`` has returned is yielded.
    """
    number = 0
    while True:
        number += 1
        run, end = prepare()
        lines, returned = _traced(module, run, number, end)
        if len(lines) < number:
            assert number > 2
            return
        yield from returned


def _traced(module, run, number, end):
    lines, returned = [], []

    def trace(frame, event, arg):
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line" and len(lines) < number:
            lines.append(frame.f_lineno)
            if len(lines) == number:
                end()
        return trace

    def traced():
        sys.settrace(trace)
        try:
            returned.append(run())
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=traced, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), f"it waits for itself, when ended before line {lines[-1]}"
    return lines, returned
