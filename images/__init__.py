"""What makes the container images, beside the ``Dockerfile``; in those for development is ``reload.py``."""
