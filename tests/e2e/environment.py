"""Environment variables of the suite: permission to use a cluster, and the images available there."""

import os

APP_IMAGE = os.environ.get("APP_IMAGE") or "livescore:dev"
OPERATOR_IMAGE = os.environ.get("OPERATOR_IMAGE") or "livescore-operator:dev"
POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE") or "postgres:17"
REDIS_IMAGE = os.environ.get("REDIS_IMAGE") or "valkey/valkey:8"


def _qualified(image: str) -> str:
    """Return the fully qualified name of an image: the same image to the node, a different one to the operator."""
    return image if "/" in image else f"docker.io/library/{image}"


NEXT_IMAGE = os.environ.get("NEXT_IMAGE") or _qualified(APP_IMAGE)
"""Image to upgrade to. By default the same image under its fully qualified name."""


def skip_reason() -> str:
    """Return the reason why no cluster may be touched; empty if tests may run."""
    if os.environ.get("E2E") != "1":
        return "needs a cluster that may be modified: run `make e2e` (sets E2E=1)"
    return "" if os.environ.get("KUBECONFIG") else "needs KUBECONFIG to select the cluster"
