"""`python -m amazin`: the command."""

from amazin.cli.main import main

main(prog_name="amazin")
