"""Scripts that the container images are built with, and ``reload.py`` of the development images."""
