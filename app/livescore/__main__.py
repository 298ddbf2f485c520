"""``python -m livescore`` is the ``livescore`` command."""

from livescore.cli import main

main()
