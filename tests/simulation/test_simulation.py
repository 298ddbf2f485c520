"""Tests of the simulator: it loses no clients, and its results show the difference between the rules."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from tools.simulation.cluster import DRAIN_SECONDS, GRACE_SECONDS, START_SECONDS, Cluster
from tools.simulation.plot import svg
from tools.simulation.report import markdown
from tools.simulation.run import Outcome, rules, run
from tools.simulation.scenarios import Scenario, autoscaling, fixture, line, match, scenarios, together

SPIKE = Scenario(
    "spike",
    "one match",
    autoscaling(100, 2, 40, 20, football=2_000),
    100,
    together(line((0, 100)), match(40, 2_000)),
    (fixture(1, 40),),
)


@pytest.fixture(scope="module")
def spike() -> dict[str, Outcome]:
    return {name: run(SPIKE, name, rule) for name, rule in rules(SPIKE).items()}


def seconds(cluster: Cluster, count: float, audience: float) -> None:
    for _ in range(int(count)):
        cluster.step(audience)
        assert cluster.connected() + sum(cluster.waiting.values()) == pytest.approx(audience)


# The model


@pytest.mark.parametrize("name", ["ours", "HPA"])
@pytest.mark.parametrize("scenario", ["node-loss", "roll-out", "goal-storm"])
def test_no_client_is_lost(scenario: str, name: str) -> None:
    day = next(one for one in scenarios() if one.name == scenario)
    rule, cluster, silent = rules(day)[name], Cluster(5, 600), iter(lambda: False, True)
    for second in range(1, 1200):
        if second == 300:
            cluster.lose(0.3)
        if second == 600:
            cluster.roll_out()
        audience = day.audience(30 + second / 60)
        cluster.step(audience)
        rule.act(cluster, silent)
        assert cluster.connected() + sum(cluster.waiting.values()) == pytest.approx(audience)


def test_removed_pod_drains_first() -> None:
    cluster = Cluster(4, 1e9)
    seconds(cluster, 10, 400)
    cluster.replicas = 3
    seconds(cluster, GRACE_SECONDS + DRAIN_SECONDS + 5, 400)
    assert len(cluster.pods) == 3
    assert cluster.dropped == 0
    assert cluster.reconnects == pytest.approx(100, abs=1)


def test_existing_sockets_are_not_moved() -> None:
    cluster = Cluster(1, 1e9)
    seconds(cluster, 5, 100)
    cluster.replicas = 2
    seconds(cluster, START_SECONDS + 5, 100)
    assert [round(pod.connections) for pod in cluster.pods] == [100, 0]
    seconds(cluster, 1, 140)
    assert [round(pod.connections) for pod in cluster.pods] == [120, 20]


def test_lost_node_drops_its_clients_and_is_detected_late() -> None:
    cluster = Cluster(4, 1e9)
    seconds(cluster, 5, 400)
    cluster.lose(0.25)
    assert cluster.dropped == pytest.approx(100)
    seconds(cluster, 15, 400)
    assert [round(pod.connections) for pod in cluster.pods] == [0, 133, 133, 133]
    assert cluster.pods[0].is_ready(cluster.now)
    seconds(cluster, 400, 400)
    assert all(pod.lost_at > cluster.now for pod in cluster.pods)
    assert len(cluster.pods) == 4


def test_rollout_replaces_every_pod_and_drops_no_socket() -> None:
    cluster = Cluster(4, 1e9)
    seconds(cluster, 5, 400)
    cluster.roll_out()
    seconds(cluster, 300, 400)
    assert {pod.version for pod in cluster.pods} == {2}
    assert (len(cluster.pods), cluster.rolling, cluster.dropped) == (4, False, 0)


# The rules


def test_operator_keeps_pods_below_their_limit_in_a_spike(spike: dict[str, Outcome]) -> None:
    assert spike["HPA"].over > 1000
    assert spike["ours, match day off"].over < spike["HPA"].over / 2
    assert spike["ours"].over < spike["HPA"].over / 10


def test_no_rule_drops_sockets_in_a_spike(spike: dict[str, Outcome]) -> None:
    assert {name: one.dropped for name, one in spike.items()} == dict.fromkeys(spike, 0.0)


def test_replicas_stay_within_their_bounds(spike: dict[str, Outcome]) -> None:
    for one in spike.values():
        assert min(sample.replicas for sample in one.samples) >= 2
        assert one.most <= 40


def test_simulation_is_deterministic() -> None:
    day = replace(next(one for one in scenarios() if one.name == "flaky-readings"), minutes=30)
    assert run(day, "ours", rules(day)["ours"]) == run(day, "ours", rules(day)["ours"])


# What is shown


def test_plot_has_a_line_for_each_rule(spike: dict[str, Outcome]) -> None:
    image = ET.fromstring(svg(list(spike.values())))
    lines = image.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 1 + 4 + 4 + 4 + 1


def test_table_marks_figures_worse_than_the_hpa(spike: dict[str, Outcome]) -> None:
    rows = [line.split(" | ") for line in markdown([list(spike.values())]).splitlines()]
    ours, _, hpa = rows[2:5]
    assert ours[0] == "| [spike](scaling/spike.svg)"
    assert ours[6].startswith("**")
    assert "**" not in " ".join([*ours[2:3], *hpa])
