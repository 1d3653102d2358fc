"""`python -m epiq.cli`, the same as `epiq`."""

from epiq.cli.app import main

main()
