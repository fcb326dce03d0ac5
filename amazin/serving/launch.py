"""Starts the processes of a server, which search no modules in the current folder.

`python launch.py ARGUMENTS...` runs gunicorn, `--try module:app` loads an application
as a test, and `--register` registers the gateway with Consul.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOME = str(Path(__file__).resolve().parents[2])


def main() -> None:
    """Do what the arguments say; see the module."""
    if HOME not in sys.path:  # the package is not installed
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
    """Run gunicorn's command, but never search the current folder for modules."""
    from gunicorn.app.wsgiapp import WSGIApplication

    class Server(WSGIApplication):  # type: ignore[misc]
        def chdir(self) -> None:
            os.chdir(self.cfg.chdir)

    Server("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").run()


if __name__ == "__main__":
    main()
