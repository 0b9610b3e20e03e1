"""`python -m naiad`: the `naiad` command where it is not on the PATH."""

from naiad.cli import main

if __name__ == "__main__":
    main(prog_name="naiad")
