"""Runs gunicorn, or tries an application out: `python launch.py [--try] ...`.

Wherever it is started: what lies in that folder is never found as a module.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOME = str(Path(__file__).resolve().parents[2])


def main() -> None:
    """Do what the arguments say: gunicorn's, `--try module:app` or `--register`."""
    if HOME not in sys.path:  # the modules are not installed
        sys.path.insert(0, HOME)
    if sys.argv[1:2] == ["--try"]:
        from gunicorn.util import import_app

        import_app(sys.argv[2])
        return
    if sys.argv[1:] == ["--register"]:
        from amazin.serving.registration import main as register

        register()
        return
    run_gunicorn()


def run_gunicorn() -> None:
    """Do what gunicorn's command does, but search no modules in the current folder."""
    from gunicorn.app.wsgiapp import WSGIApplication

    class Server(WSGIApplication):  # type: ignore[misc]
        def chdir(self) -> None:
            os.chdir(self.cfg.chdir)

    Server("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").run()


if __name__ == "__main__":
    main()
