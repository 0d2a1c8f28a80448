"""`python -m onoma`: the command line."""

from onoma.cli import main

main()
