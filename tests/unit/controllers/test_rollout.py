"""The arithmetic of rollouts, and its two promises in any order of events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambientlab.controllers.deployment.rollout import limits, new_replicas, resolve, scale, shrink_old


@pytest.mark.parametrize(
    ("value", "total", "up", "result"),
    [(3, 10, True, 3), ("25%", 4, True, 1), ("25%", 3, True, 1), ("25%", 3, False, 0), ("100%", 7, False, 7)],
)
def test_percentages_round_up_for_surge_and_down_for_unavailable(value, total, up, result):
    assert resolve(value, total, up=up) == result


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "result"),
    [
        ("25%", "25%", 1, (1, 0)),
        ("25%", "25%", 4, (1, 1)),
        (0, "10%", 2, (0, 1)),
        (1, 10, 2, (1, 2)),
        ("0%", 0, 0, (0, 0)),
    ],
)
def test_limits(surge, unavailable, replicas, result):
    assert limits(wanted(replicas, surge, unavailable)) == result


def wanted(replicas, surge, unavailable):
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}}


class ReplicaSets:
    """ReplicaSets whose pods become available and are counted when the story says so, not at once."""

    def __init__(self, **sizes):
        self.size = dict(sizes)
        self.available = {called: size if called != "new" else 0 for called, size in sizes.items()}
        self.reported = dict(self.available)

    def view(self, called):
        return {
            "metadata": {"name": called, "creationTimestamp": called},
            "spec": {"replicas": self.size[called]},
            "status": {"availableReplicas": self.reported[called]},
        }

    def apply(self, plan):
        for called, size in plan.items():
            self.size[called] = size
            self.available[called] = min(self.available[called], size)  # pods that do not work go first

    def control(self, deployment):
        sets = {called: self.view(called) for called in self.size}
        new = sets.pop("new")
        size = new_replicas(deployment, [*sets.values(), new], self.size["new"])
        if size != self.size["new"]:
            self.apply({"new": size})
        else:
            self.apply(shrink_old(deployment, new, list(sets.values())))

    def report(self):
        self.reported = dict(self.available)

    def progress(self, called):
        self.available[called] = min(self.available[called] + 1, self.size[called])


@settings(max_examples=300, deadline=None)
@given(
    replicas=st.integers(1, 12),
    surge=st.integers(0, 5),
    unavailable=st.integers(0, 5),
    split=st.integers(0, 12),
    steps=st.lists(st.sampled_from(["control", "report", "progress"]), max_size=60),
)
def test_no_order_of_events_breaks_surge_or_unavailable_and_every_rollout_ends(
    replicas, surge, unavailable, split, steps
):
    deployment = wanted(replicas, surge, unavailable)
    older = min(split, replicas)
    world = ReplicaSets(older=older, old=replicas - older, new=0)
    most = replicas + limits(deployment)[0]
    fewest = replicas - limits(deployment)[1]
    for step in [*steps, *["control", "progress", "report"] * (4 * replicas + 8)]:
        if step == "progress":
            world.progress("new")
        else:
            {"control": lambda: world.control(deployment), "report": world.report}[step]()
        assert sum(world.size.values()) <= most
        assert sum(world.available.values()) >= fewest
    assert world.size == {"older": 0, "old": 0, "new": replicas}


def sized(called, replicas, *, available=None, maximum=None):
    annotations = {"deployment.kubernetes.io/max-replicas": str(maximum)} if maximum else {}
    return {
        "metadata": {"name": called, "creationTimestamp": called, "annotations": annotations},
        "spec": {"replicas": replicas},
        "status": {"availableReplicas": replicas if available is None else available},
    }


@pytest.mark.parametrize(
    ("replicas", "new", "old", "plan"),
    [
        (5, sized("new", 2), [], {"new": 5}),
        (5, None, [sized("old", 2)], {"old": 5}),  # paused before its first rollout: the only one there is
        (2, sized("new", 2), [sized("old", 1)], {"old": 0}),  # the new one is all there
        (20, sized("new", 5, maximum=13), [sized("old", 8, maximum=13)], {"old": 14, "new": 9}),
        (5, sized("new", 5, available=0, maximum=13), [sized("old", 8, maximum=13)], {"old": 5, "new": 3}),
        (0, sized("new", 5, maximum=13), [sized("old", 8, maximum=13)], {"old": 0, "new": 0}),
        (3, sized("new", 3, available=1), [sized("old", 1), sized("older", 0)], {}),
    ],
)
def test_scaling_is_shared_in_proportion(replicas, new, old, plan):
    deployment = wanted(replicas, 3 if replicas != 3 else 1, 2)
    assert scale(deployment, new, old) == plan
