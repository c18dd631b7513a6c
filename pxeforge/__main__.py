"""`python -m pxeforge` is the command line."""

from pxeforge.cli.main import main

main(prog_name="pxeforge")
