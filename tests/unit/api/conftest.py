"""A registry with everything the server ships, and one call for the way an object takes through the room."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from ambientlab.api import admit, crds
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource

Admit = Callable[..., Object]


@pytest.fixture(scope="session")
def registry() -> Registry:
    served = Registry()
    for crd in crds.shipped():
        served.put_crd(crd)
    return served


@pytest.fixture
def admitted(registry: Registry) -> Admit:
    """Decode, default, validate; `old` makes it an update."""

    def run(resource: Resource, obj: Object | bytes, *, old: Object | None = None, strict: bool = True) -> Object:
        body = obj if isinstance(obj, bytes) else orjson.dumps(obj)
        result, _ = admit.decode(registry, resource, body, "application/json", "Strict" if strict else "Ignore")
        admit.default(registry, resource, result)
        if old is None:
            admit.validate_create(registry, resource, result)
        else:
            admit.validate_update(registry, resource, result, old)
        return result

    return run


@pytest.fixture
def refusal(admitted: Admit) -> Callable[..., StatusError]:
    """The error an object is refused with; fails if it is taken."""

    def run(resource: Resource, obj: Object | bytes, **options: object) -> StatusError:
        with pytest.raises(StatusError) as caught:
            admitted(resource, obj, **options)
        return caught.value

    return run
