"""Runs gunicorn, or tries an application out: `python launch.py [--try] ...`.

Wherever it is started: what lies in that folder is found, too (one's own discovery),
but never in the place of one of these modules.
"""

from __future__ import annotations

import sys
from pathlib import Path

HOME = str(Path(__file__).resolve().parents[2])


def main() -> None:
    """Do what the arguments say: gunicorn's, `--try module:app` or `--register`."""
    find_modules()
    if sys.argv[1:2] == ["--try"]:
        from gunicorn.util import import_app

        import_app(sys.argv[2])
        return
    if sys.argv[1:] == ["--register"]:
        from amazin.serving.registration import main as register

        register()
        return
    from gunicorn.app.wsgiapp import run

    run(prog="gunicorn")


def find_modules() -> None:
    """Have these modules be found before those of the current folder."""
    if HOME not in sys.path:
        sys.path.insert(0, HOME)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    main()
