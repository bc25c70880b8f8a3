"""What Ctrl-C can do: CPython raises KeyboardInterrupt where a function begins, or a built-in one has returned."""

import sys


def at_each_point(modules, prepare):
    """Interrupt what ``prepare()`` makes, ``(run, outcome)``, once at each point of the code of ``modules``.

    What ``outcome()`` returns after each interrupt is yielded.
    """
    files = {module.__file__ for module in modules}
    number = 0
    while True:
        number += 1
        run, outcome = prepare()
        try:
            _interrupted(files, number, run)
        except KeyboardInterrupt:
            yield outcome()
        else:
            assert number > 3, "nothing was interrupted"
            return


def _interrupted(files, number, run):
    points = 0

    def profile(frame, event, arg):
        nonlocal points
        if event in {"call", "c_return"} and frame.f_code.co_filename in files:
            points += 1
            if points == number:
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
