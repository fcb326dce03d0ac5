"""`python -m amazin.cli`: the command, where it is not installed."""

from amazin.cli.main import main

main(prog_name="amazin")
