"""What Streamlit runs for each reader, again at each change: arguments in, a page out."""

from __future__ import annotations

import argparse
import sys

from naiad_dashboard.app import show


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="naiad_dashboard")
    parser.add_argument("--server-url", required=True)
    parser.add_argument("--login", action="store_true")
    options = parser.parse_args(arguments)
    show(options.server_url, login=options.login)


if __name__ == "__main__":
    main(sys.argv[1:])
