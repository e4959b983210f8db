"""Tokens judged by a real Envoy: which are valid, where they are found, and what becomes of their claims."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ambientlab.mesh.index import authentication, authorization
from ambientlab.mesh.ir import Guard, Key
from support import jwt
from support.guarded_envoy import Answer, Ask, Guarded, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET, OTHER = b"secret-of-the-issuer", b"somebody-else"
NO_TOKEN = Ask()


def bearer(secret: bytes = SECRET, **claims: Any) -> Ask:
    return Ask(headers={"authorization": f"Bearer {jwt.token(secret, **claims)}"})


def guard(*rules: dict[str, Any], policy: dict[str, Any] | None = None) -> Guard:
    filled = [{"issuer": "me", "jwks": jwt.keys(SECRET), **rule} for rule in rules]
    read = authentication.read(Key("hello", "tokens"), {"metadata": {}, "spec": {"jwtRules": filled}}, lambda _: None)
    written = () if policy is None else (policy,)
    policies = tuple(authorization.read(Key("hello", "p"), {"metadata": {}, "spec": one}).policy for one in written)
    return Guard(policies, tuple(sorted(read.rules, key=lambda rule: rule.issuer)))


def when(key: str, *values: str) -> dict[str, Any]:
    return {"rules": [{"when": [{"key": key, "values": list(values)}]}]}


CLAIMS = [{"header": "x-user", "claim": "sub"}, {"header": "x-role", "claim": "realm.role"}]
GUARDS = {
    "plain": guard({}),
    "audiences": guard({"audiences": ["web", "app"]}),
    "header": guard({"fromHeaders": [{"name": "x-token", "prefix": "Token "}]}),
    "param": guard({"fromParams": ["t"]}),
    "cookie": guard({"fromCookies": ["session"]}),
    "forward": guard({"forwardOriginalToken": True, "outputPayloadToHeader": "x-payload"}),
    "claims": guard({"outputClaimToHeaders": CLAIMS}),
    "two": guard({}, {"issuer": "you", "jwks": jwt.keys(OTHER)}),
    "unfetched": guard({"jwks": "", "jwksUri": "http://nowhere"}),
    "principal": guard({}, policy={"rules": [{"from": [{"source": {"requestPrincipals": ["me/ada"]}}]}]}),
    "any-principal": guard({}, policy={"rules": [{"from": [{"source": {"requestPrincipals": ["*"]}}]}]}),
    "not-principal": guard(
        {}, policy={"action": "DENY", "rules": [{"from": [{"source": {"notRequestPrincipals": ["*"]}}]}]}
    ),
    "claim": guard({}, policy=when("request.auth.claims[group]", "admin", "dev*")),
    "nested": guard({}, policy=when("request.auth.claims[realm][role]", "reader")),
    "aud": guard({}, policy=when("request.auth.audiences", "web")),
    "azp": guard({}, policy=when("request.auth.presenter", "app")),
    "when-principal": guard({}, policy=when("request.auth.principal", "*/ada")),
    "scope": guard({}, policy=when("request.auth.claims[scope]", "read")),
    "roles": guard({"spaceDelimitedClaims": ["roles"]}, policy=when("request.auth.claims[roles]", "b")),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def envoy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    async with running(tmp_path_factory.mktemp("envoy"), GUARDS) as found:
        yield found


async def statuses(envoy: Guarded, name: str, *asks: Ask) -> list[int]:
    return [(await envoy.ask(name, ask)).status for ask in asks]


async def refused(envoy: Guarded, name: str, ask: Ask) -> Answer:
    answer = await envoy.ask(name, ask)
    assert answer.status == 401
    return answer


async def test_a_request_without_a_token_passes_and_one_with_a_bad_token_does_not(envoy: Guarded) -> None:
    assert await statuses(envoy, "plain", NO_TOKEN, bearer()) == [200, 200]
    words = {
        "Jwt verification fails": bearer(OTHER),
        "Jwt is expired": bearer(exp=1),
        "Jwt issuer is not configured": bearer(iss="somebody"),
        "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections": Ask(
            headers={"authorization": "Bearer nonsense"}
        ),
    }
    for body, ask in words.items():
        answer = await refused(envoy, "plain", ask)
        assert answer.body == body
        assert answer.headers["www-authenticate"].startswith('Bearer realm="http://helloworld.hello/"')


async def test_audiences(envoy: Guarded) -> None:
    assert await statuses(envoy, "audiences", bearer(aud="web"), bearer(aud=["x", "app"]), NO_TOKEN) == [200, 200, 200]
    answer = await envoy.ask("audiences", bearer(aud="other"))
    assert (answer.status, answer.body) == (403, "Audiences in Jwt are not allowed")


async def test_where_a_token_is_found(envoy: Guarded) -> None:
    good, bad = jwt.token(SECRET), jwt.token(OTHER)
    for found, lost in (
        (("header", {"x-token": "Token {}"}, "/"), bearer(OTHER)),
        (("param", {}, "/?t={}"), bearer(OTHER)),
        (("cookie", {"cookie": "a=b; session={}"}, "/"), bearer(OTHER)),
    ):
        name, headers, path = found
        for value, status in ((good, 200), (bad, 401)):
            ask = Ask(path.format(value), headers={key: text.format(value) for key, text in headers.items()})
            assert (await envoy.ask(name, ask)).status == status, (name, status)
        assert (await envoy.ask(name, lost)).status == 200, name  # it is not where a token is looked for
    assert await statuses(envoy, "plain", Ask(f"/?access_token={bad}")) == [401]


async def test_what_is_passed_on(envoy: Guarded) -> None:
    assert "seen-authorization" not in (await envoy.ask("plain", bearer())).headers
    answer = await envoy.ask("forward", bearer())
    assert answer.headers["seen-authorization"].startswith("Bearer ")
    payload = answer.headers["seen-x-payload"]
    assert json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"] == "ada"
    claims = await envoy.ask("claims", bearer(realm={"role": "reader"}))
    assert (claims.headers["seen-x-user"], claims.headers["seen-x-role"]) == ("ada", "reader")
    # whoever sends the headers of claims without a token has them taken away
    forged = await envoy.ask("claims", Ask(headers={"x-user": "root"}))
    assert forged.headers.get("seen-x-user") != "root"


async def test_two_issuers(envoy: Guarded) -> None:
    yours = bearer(OTHER, iss="you")
    assert await statuses(envoy, "two", bearer(), yours, NO_TOKEN, bearer(OTHER)) == [200, 200, 200, 401]


async def test_keys_that_were_not_fetched_make_every_token_invalid(envoy: Guarded) -> None:
    assert await statuses(envoy, "unfetched", NO_TOKEN, bearer()) == [200, 401]


@pytest.mark.parametrize(
    ("name", "passes", "stopped"),
    [
        ("principal", bearer(), bearer(sub="bob")),
        ("any-principal", bearer(sub="bob"), NO_TOKEN),
        ("not-principal", bearer(), NO_TOKEN),
        ("claim", bearer(group=["ops", "developers"]), bearer(group="ops")),
        ("claim", bearer(group="admin"), bearer()),
        ("nested", bearer(realm={"role": ["writer", "reader"]}), bearer(realm={"role": "writer"})),
        ("aud", bearer(aud=["x", "web"]), bearer(aud="x")),
        ("azp", bearer(azp="app"), bearer(azp="other")),
        ("when-principal", bearer(), bearer(sub="bob")),
        ("scope", bearer(scope="write read"), bearer(scope="write")),
        ("roles", bearer(roles="a b"), bearer(roles="a,b")),
    ],
)
async def test_claims_in_policies(envoy: Guarded, name: str, passes: Ask, stopped: Ask) -> None:
    assert await statuses(envoy, name, passes, stopped) == [200, 403]
