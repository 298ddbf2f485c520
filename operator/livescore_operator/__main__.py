"""Entry point of ``livescore-operator`` and of ``python -m livescore_operator``.

The base install lacks the packages of the operator, so the command is imported only once a missing package can be
reported.
"""

import sys


def main() -> None:
    """Run the command, or name the extra to install if one of its packages is missing, with exit status 1."""
    try:
        from livescore_operator import cli

        cli.main()
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in {"", "livescore_operator"}:
            raise
        sys.exit(
            f"livescore-operator: {name} is missing: install the extra too, in a clone with `pip install '.[operator]'`"
        )


if __name__ == "__main__":
    main()
