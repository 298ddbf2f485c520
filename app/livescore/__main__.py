"""Entry point of ``livescore`` and of ``python -m livescore``.

The base install lacks the packages of the service, so the command is imported only once a missing package can be
reported.
"""

import sys


def main() -> None:
    """Run the command, or name the extra to install if one of its packages is missing, with exit status 1."""
    try:
        from livescore import cli

        cli.main()
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in {"", "livescore"}:
            raise
        extra = "app,embedded" if sys.argv[1:2] == ["dev"] else "app"
        sys.exit(f"livescore: {name} is missing: install the extra too, in a clone with `pip install '.[{extra}]'`")


if __name__ == "__main__":
    main()
