"""``skaffold.yaml`` names existing things. Checked by hand against its schema (v4beta13, 240 kB)."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from livescore_operator.resource import GROUP, KIND

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))


class Strict(BaseModel):
    """A model that forbids fields unknown to skaffold."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Docker(Strict):
    target: str


class Dependencies(Strict):
    paths: list[str]


class Custom(Strict):
    build_command: str = Field(alias="buildCommand")
    dependencies: Dependencies


class Rule(Strict):
    src: str
    dest: str
    strip: str


class Sync(Strict):
    manual: list[Rule]


class Artifact(Strict):
    image: str
    docker: Docker | None = None
    custom: Custom | None = None
    sync: Sync | None = None


class Local(Strict):
    push: bool


class Build(Strict):
    tag_policy: dict[str, dict[str, Any]] = Field(alias="tagPolicy")
    local: Local | None = None
    artifacts: list[Artifact]


class Kustomize(Strict):
    paths: list[str]


class Manifests(Strict):
    kustomize: Kustomize
    raw_yaml: list[str] = Field(alias="rawYaml")


class Filter(Strict):
    group_kind: str = Field(alias="groupKind")
    image: list[str]


class Selector(Strict):
    allow: list[Filter]


class Forward(Strict):
    type: str = Field(alias="resourceType")
    name: str = Field(alias="resourceName")
    namespace: str
    port: int
    local: int = Field(alias="localPort")


class Patch(Strict):
    op: str
    path: str
    value: Local


class Activation(Strict):
    kube_context: str = Field(alias="kubeContext")


class Profile(Strict):
    name: str
    activation: list[Activation] = []
    build: Build | None = None
    patches: list[Patch] = []


class Deploy(Strict):
    deadline: int = Field(alias="statusCheckDeadlineSeconds")
    kubectl: dict[str, Any]


class Metadata(Strict):
    name: str


class Config(Strict):
    api_version: str = Field(alias="apiVersion", pattern=r"^skaffold/v4beta\d+$")
    kind: str
    metadata: Metadata
    build: Build
    resource_selector: Selector = Field(alias="resourceSelector")
    manifests: Manifests
    deploy: Deploy
    port_forward: list[Forward] = Field(alias="portForward")
    profiles: list[Profile]

    def profile(self, name: str) -> Profile:
        (found,) = (profile for profile in self.profiles if profile.name == name)
        return found


CONFIG = Config.model_validate(yaml.safe_load((ROOT / "skaffold.yaml").read_text()))


def artifacts() -> list[Artifact]:
    builds = [CONFIG.build, *(profile.build for profile in CONFIG.profiles if profile.build)]
    return [artifact for build in builds for artifact in build.artifacts]


def makefile(variable: str) -> str:
    found = re.search(rf"^{variable} \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_images_match_the_manifests() -> None:
    names = [makefile(variable).rpartition(":")[0] for variable in ("APP_IMAGE", "OPERATOR_IMAGE")]
    for build in (CONFIG.build, *(profile.build for profile in CONFIG.profiles if profile.build)):
        assert [artifact.image for artifact in build.artifacts] == names


def test_every_build_target_is_in_the_dockerfile() -> None:
    named = {artifact.docker.target for artifact in artifacts() if artifact.docker}
    named |= {found for artifact in artifacts() if artifact.custom for found in targets(artifact.custom)}
    assert named == {"app", "operator", "app-dev", "operator-dev"}
    assert named <= TARGETS


def targets(custom: Custom) -> list[str]:
    assert custom.build_command.startswith("make image ")
    return re.findall(r"TARGET=(\S+)", custom.build_command)


def test_image_of_the_livescore_is_replaced_too() -> None:
    (allowed,) = CONFIG.resource_selector.allow
    assert (allowed.group_kind, allowed.image) == (f"{KIND}.{GROUP}", [".spec.image"])


@pytest.mark.parametrize("path", [*CONFIG.manifests.kustomize.paths, *CONFIG.manifests.raw_yaml])
def test_every_manifest_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_synced_files_are_where_the_image_expects_them() -> None:
    from images.reload import WATCHED

    build = CONFIG.profile("dev").build
    assert build
    rules = [rule for artifact in build.artifacts if artifact.sync for rule in artifact.sync.manual]
    assert len(rules) == len(build.artifacts)
    for rule in rules:
        assert list(ROOT.glob(rule.src))
        assert rule.src.startswith(rule.strip)
        assert rule.dest == str(WATCHED)


def test_forwarded_ports_match_the_sample_and_the_operator() -> None:
    assert [(one.type, one.name, one.port) for one in CONFIG.port_forward] == [
        ("service", "demo", 8000),
        ("deployment", "livescore-operator", 8080),
    ]


def test_images_are_loaded_into_the_cluster_of_make_kind() -> None:
    profile = CONFIG.profile("kind")
    assert [one.kube_context for one in profile.activation] == [f"kind-{makefile('CLUSTER')}"]
    assert [(one.path, one.value.push) for one in profile.patches] == [("/build/local", False)]
