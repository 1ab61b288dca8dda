"""The path that a stream came by: named by headers of the table, in the order that they tell, and by nothing else."""

from __future__ import annotations

import pytest

from streamwatch.core import via
from streamwatch.core.via import BUFFERING, DIRECT, FEWEST_OF_BURSTS, INTERMEDIARIES, NAMES, Role, label_of, path_of

#: What responses have said, and who it was.
SEEN: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({"content-type": "text/event-stream"}, ()),
    ({"cf-ray": "8f1c", "server": "cloudflare"}, ("cloudflare",)),
    ({"Server": "Cloudflare"}, ("cloudflare",)),
    ({"x-amz-cf-id": "a", "x-cache": "Miss from cloudfront"}, ("cloudfront",)),
    ({"x-cache": "HIT"}, ()),
    ({"via": "1.1 7a.cloudfront.net (CloudFront)"}, ("cloudfront",)),
    ({"server": "elb"}, ("elb",)),
    ({"server": "awselb/2.0"}, ("elb",)),
    ({"server": "istio-envoy"}, ("envoy",)),
    ({"x-envoy-upstream-service-time": "5", "cf-ray": "1"}, ("cloudflare", "envoy")),
    ({"x-kong-proxy-latency": "1"}, ("kong",)),
    ({"via": "1.1 kong/3.4.2"}, ("kong",)),
    ({"via": "1.1 google"}, ("google",)),
    ({"apim-request-id": "1", "x-ms-region": "East US"}, ("azure_apim",)),
    ({"server": "databricks"}, ("databricks",)),
    ({"x-inference-provider": "together"}, ("huggingface_router",)),
    ({"x-litellm-call-id": "1", "server": "uvicorn"}, ("litellm", "uvicorn")),
    ({"x-portkey-trace-id": "1"}, ("portkey",)),
    ({"cf-aig-event-id": "1", "cf-ray": "1"}, ("cloudflare", "cloudflare_ai_gateway")),
    ({"x-served-by": "cache-fra-1", "via": "1.1 varnish"}, ("fastly",)),
    ({"via": "1.1 varnish"}, ("varnish",)),
    ({"x-vercel-id": "fra1"}, ("vercel",)),
    ({"fly-request-id": "1"}, ("fly",)),
    ({"server": "nginx/1.25.3"}, ("nginx",)),
    ({"server": "openresty"}, ("nginx",)),
    ({"server": "uvicorn"}, ("uvicorn",)),
    ({"helicone-id": "1"}, ("helicone",)),
    ({"server": "Caddy", "via": "1.1 Caddy"}, ("caddy",)),
    ({"server": "a nginx of sorts", "x-litellm": "1", "via": ""}, ()),
]


def headers(given: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """As an HTTP library has them."""
    return [(name.encode(), value.encode("latin-1")) for name, value in given.items()]


@pytest.mark.parametrize(("given", "path"), SEEN, ids=lambda value: str(value)[:60])
def test_who_is_named_in_the_headers_is_in_the_path(given: dict[str, str], path: tuple[str, ...]) -> None:
    """By the header that is there, or by what it says; nobody else."""
    assert path_of(headers(given)) == path


def test_every_row_of_the_table_is_found_in_some_response() -> None:
    """None is there that nothing leads to."""
    assert {row.name for row in INTERMEDIARIES} == {name for _, path in SEEN for name in path}
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("1.1 kong/3.4, 1.1 google", ("google", "kong")),  # google, which is nearer, wrote last
        ("1.1 google, 1.1 kong/3.4", ("kong", "google")),
        ("1.1 google, 1.1 google", ("google",)),
        ("1.1 nobody, 1.1 caddy", ("caddy",)),
    ],
)
def test_via_tells_the_order(said: str, path: tuple[str, ...]) -> None:
    """Each intermediary writes itself behind those that the response has passed already."""
    assert path_of(headers({"via": said})) == path


def test_those_that_via_does_not_name_keep_the_places_that_they_mostly_have() -> None:
    """An edge before a balancer before a gateway before a server."""
    given = headers({"server": "uvicorn", "x-litellm-version": "1", "via": "1.1 kong, 1.1 caddy", "cf-ray": "1"})

    assert path_of(given) == ("cloudflare", "caddy", "kong", "litellm")
    assert [row.role for row in INTERMEDIARIES] == sorted(row.role for row in INTERMEDIARIES)


def test_a_path_is_bounded_whatever_a_server_writes() -> None:
    """Names of the table alone, a few of them, out of the beginning of a header."""
    long = headers({"via": ", ".join(["1.1 nobody"] * 1000 + ["1.1 google"])})
    everybody = headers(
        {"cf-ray": "1", "x-amz-cf-id": "1", "x-varnish": "1", "x-vercel-id": "1", "fly-request-id": "1"}
    )

    assert path_of(long) == ()
    assert len(path_of(everybody)) == via.MOST_NAMES
    assert path_of([(b"via", b"\xff\xfe google")]) == ("google",)


@pytest.mark.parametrize(
    ("path", "events", "per_read", "label"),
    [
        ((), 100, 1.0, DIRECT),
        ((), 100, 20.0, BUFFERING),
        ((), FEWEST_OF_BURSTS - 1, 15.0, DIRECT),  # a short answer comes in one read from a fast server too
        ((), 100, 7.9, DIRECT),
        (("uvicorn",), 100, 1.0, "uvicorn"),
        (("uvicorn",), 100, 20.0, "buffering>uvicorn"),
        (("nginx",), 100, 20.0, "nginx"),  # it is known who buffers
        (("cloudflare", "litellm"), 0, 0.0, "cloudflare>litellm"),
    ],
)
def test_bursts_stand_for_a_proxy_that_leaves_no_trace(
    path: tuple[str, ...], events: int, per_read: float, label: str
) -> None:
    """Many events in a read, where no header names an intermediary."""
    assert label_of(path, events, per_read) == label


def test_what_answered_is_no_intermediary() -> None:
    """A path of a server alone counts as direct."""
    assert via.UNPROXIED == (DIRECT, *(row.name for row in INTERMEDIARIES if row.role is Role.SERVER))
