"""`python -m onoma`: the command line."""

from onoma.cli import main

if __name__ == "__main__":  # the processes of a large analysis import this file too
    main()
