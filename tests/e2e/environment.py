"""What the suite is told by the environment: whether it may run, and the images that the cluster has."""

import os

APP_IMAGE = os.environ.get("APP_IMAGE") or "livescore:dev"
OPERATOR_IMAGE = os.environ.get("OPERATOR_IMAGE") or "livescore-operator:dev"
POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE") or "postgres:17"
REDIS_IMAGE = os.environ.get("REDIS_IMAGE") or "valkey/valkey:8"


def _qualified(image: str) -> str:
    """The long name of an image: the same to the node, another one to the operator."""
    return image if "/" in image else f"docker.io/library/{image}"


NEXT_IMAGE = os.environ.get("NEXT_IMAGE") or _qualified(APP_IMAGE)
"""The image that is upgraded to. By default the same one by its long name."""


def forbidden() -> str:
    """Why no cluster may be touched; empty where one may."""
    if os.environ.get("E2E") != "1":
        return "needs a cluster that it may change: say so by `make e2e` (E2E=1)"
    return "" if os.environ.get("KUBECONFIG") else "needs KUBECONFIG, which names the cluster"
