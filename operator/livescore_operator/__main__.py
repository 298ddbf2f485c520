"""``python -m livescore_operator``."""

from livescore_operator.cli import main

main()
