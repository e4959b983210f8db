"""Whole meshes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.mesh import Mesh, discard, new_home


@pytest.fixture
def home() -> Iterator[Mesh]:
    """No mesh yet."""
    mesh = new_home()
    yield mesh
    discard(mesh)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A running mesh, the module's own."""
    made = new_home()
    try:
        done = made.ambientlab("up")
        assert done.code == 0, done.text
        yield made
    finally:
        discard(made)


@pytest.fixture(scope="module")
def lab(mesh: Mesh) -> Mesh:
    """A running mesh with the Traffic Management lab's world."""
    done = mesh.ambientlab("lab", "start", "traffic-management")
    assert done.code == 0, done.text
    return mesh


@pytest.fixture(scope="module")
def hello(lab: Mesh) -> Mesh:
    """And both versions of its application, not in the mesh."""
    lab.helloworld()
    return lab


@pytest.fixture(scope="module")
def hello_behind_waypoint(lab: Mesh) -> Mesh:
    """Both versions in the mesh, behind a waypoint of their namespace."""
    lab.kubectl("label", "namespace", "hello", "istio.io/dataplane-mode=ambient", "istio.io/use-waypoint=waypoint")
    lab.helloworld()
    lab.waypoint("hello")
    return lab
