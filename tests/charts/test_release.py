"""Install, upgrade, rollback and uninstall of releases on a real API server without controllers."""

import json
from pathlib import Path

import pytest

from tests.charts.rendering import Manifest
from tests.support import tools
from tools.charts import LIVESCORE, OPERATOR

SYSTEM, SPORTS = "livescore-system", "sports"

KINDS = (
    *("deployments", "services", "serviceaccounts", "roles", "rolebindings", "networkpolicies"),
    *("poddisruptionbudgets", "secrets", "configmaps", "clusterroles", "clusterrolebindings", "livescores", "pods"),
)


class Cluster:
    """The commands that users run."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = str(kubeconfig)

    def helm(self, *arguments: str) -> str:
        return tools.run("helm", *arguments, KUBECONFIG=self._kubeconfig).stdout

    def kubectl(self, *arguments: str) -> str:
        return tools.run("kubectl", *arguments, KUBECONFIG=self._kubeconfig).stdout

    def replicas(self) -> int:
        found: Manifest = json.loads(self.kubectl("get", "lsc", "demo", "-n", SPORTS, "-o", "json"))
        replicas: int = found["spec"]["api"]["replicas"]
        return replicas

    def of_helm(self) -> list[str]:
        """Return the objects created by the charts."""
        label = "app.kubernetes.io/managed-by=Helm"
        return self.kubectl("get", ",".join(KINDS), "-A", "-l", label, "-o", "name").split()


@pytest.fixture
def cluster(kubeconfig: Path) -> Cluster:
    """A cluster without releases, whose CRD was installed separately."""
    return Cluster(kubeconfig)


@pytest.mark.timeout(180)
def test_release_is_installed_upgraded_rolled_back_and_uninstalled(cluster: Cluster) -> None:
    operator = ("livescore-operator", str(OPERATOR), "--namespace", SYSTEM)
    demo = ("demo", str(LIVESCORE), "--namespace", SPORTS)

    with pytest.raises(tools.ToolError, match=r"invalid ownership metadata"):
        cluster.helm("install", *operator)
    cluster.helm("install", *operator, "--take-ownership")
    cluster.helm("install", *demo, "--set", "spec.api.replicas=3,secrets.redisUrl=redis://elsewhere")
    assert cluster.replicas() == 3

    cluster.helm("upgrade", *demo, "--reset-then-reuse-values", "--set", "spec.api.replicas=4")
    assert cluster.replicas() == 4
    cluster.helm("rollback", "demo", "--namespace", SPORTS)
    assert cluster.replicas() == 3

    # The LiveScore survives its operator, and the next release adopts it and the CRD.
    cluster.helm("uninstall", "livescore-operator", "--namespace", SYSTEM)
    assert cluster.replicas() == 3
    cluster.helm("install", *operator)
    cluster.helm("uninstall", "demo", "--namespace", SPORTS)
    cluster.helm("uninstall", "livescore-operator", "--namespace", SYSTEM)

    assert cluster.of_helm() == []
    assert cluster.kubectl("get", "lsc", "-A", "-o", "name") == ""


def test_foreign_changes_are_not_overwritten_without_force(cluster: Cluster) -> None:
    demo = ("demo", str(LIVESCORE), "--namespace", SPORTS)
    cluster.helm("install", *demo, "--set", "spec.api.replicas=3")
    cluster.kubectl("scale", "lsc", "demo", "-n", SPORTS, "--replicas=5")

    with pytest.raises(tools.ToolError, match=r"conflict"):
        cluster.helm("upgrade", *demo, "--set", "spec.api.replicas=4")
    cluster.helm("upgrade", *demo, "--set", "spec.api.replicas=4", "--force-conflicts")
    assert cluster.replicas() == 4
    cluster.helm("uninstall", "demo", "--namespace", SPORTS)


def test_replicas_without_a_value_are_left_to_kubectl_scale(cluster: Cluster) -> None:
    demo = ("demo", str(LIVESCORE), "--namespace", SPORTS)
    cluster.helm("install", *demo)
    cluster.kubectl("scale", "lsc", "demo", "-n", SPORTS, "--replicas=5")
    cluster.helm("upgrade", *demo, "--set", "labels.a=b")

    assert cluster.replicas() == 5
    cluster.helm("uninstall", "demo", "--namespace", SPORTS)
