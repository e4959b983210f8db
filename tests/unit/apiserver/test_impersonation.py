"""`kubectl --as`: who may ask as whom."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from ambientlab.api.errors import StatusError
from ambientlab.apiserver.http.impersonation import asking
from ambientlab.apiserver.options import MASTERS, User

ADMIN = User("admin", (MASTERS, "system:authenticated"))
POD = User("system:serviceaccount:a:b", ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"))


def headers(*pairs: tuple[str, str]) -> web.Request:
    return make_mocked_request("GET", "/", headers=CIMultiDict(pairs))


def test_without_headers_everybody_asks_for_themselves() -> None:
    assert asking(headers(("Accept", "a")), POD) is POD


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([("Impersonate-User", "ada")], User("ada", ("system:authenticated",))),
        (
            [("impersonate-user", "ada"), ("Impersonate-Group", "x"), ("Impersonate-Group", MASTERS)],
            User("ada", ("x", MASTERS, "system:authenticated")),
        ),
        ([("Impersonate-User", POD.name)], POD),
        ([("Impersonate-User", "system:anonymous")], User("system:anonymous", ("system:unauthenticated",))),
        (
            [("Impersonate-User", "ada"), ("Impersonate-Uid", "7"), ("Impersonate-Extra-Scope", "s")],
            User("ada", ("system:authenticated",), "7", (("scope", ("s",)),)),
        ),
    ],
)
def test_an_administrator_asks_as_anybody(given: list[tuple[str, str]], expected: User) -> None:
    assert asking(headers(*given), ADMIN) == expected


def test_others_ask_as_nobody_else() -> None:
    with pytest.raises(StatusError) as refused:
        asking(headers(("Impersonate-User", "admin"), ("Impersonate-Group", MASTERS)), POD)
    assert refused.value.code == 403
    assert refused.value.message == (
        f'users "admin" is forbidden: User "{POD.name}" cannot impersonate resource "users" in API group "" at the'
        " cluster scope"
    )


@pytest.mark.parametrize("name", ["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-a"])
def test_who_is_meant_has_to_be_said(name: str) -> None:
    with pytest.raises(StatusError) as refused:
        asking(headers((name, "x")), ADMIN)
    assert refused.value.code == 400
