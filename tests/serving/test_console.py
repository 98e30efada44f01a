"""The console over HTTP: who may see and do what, in which language, and that nothing of it is open to other sites."""

import hashlib
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_service import FakeService
from test_api_keys import toml
from test_app import NOW

from serving.app import create_app
from serving.console.messages import Language, catalogue
from serving.console.sessions import COOKIE, LASTS, ConsoleSettings, Session, Sessions, new_session
from serving.keys import KeyRing, key_mark
from serving.metrics import Metrics
from serving.rate_limits import RateLimit, RateLimits
from serving.soundness import NotFinite
from serving.worker import BESIDE

TEMPLATES = sorted((Path(__file__).parents[2] / "serving" / "console" / "templates").glob("*.jinja"))
SPOKEN = ("aria-label", "placeholder", "title", "alt", "content")
HOME = "/console/en/try?surface=home&k=3"


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def open_console(service):
    return create_app(service, clock=lambda: NOW, console=ConsoleSettings("secret")).test_client()


@pytest.fixture
def console(service):
    keys = KeyRing.from_toml(toml(), file="keys.toml")
    return create_app(service, clock=lambda: NOW, keys=keys, console=ConsoleSettings("secret")).test_client()


def token(page) -> str:
    return re.search(r'name="csrf" value="([^"]+)"', page.get_data(as_text=True))[1]


def sign_in(console, name, language="en"):
    sent = token(console.get(f"/console/{language}/login"))
    return console.post(f"/console/{language}/login", data={"csrf": sent, "key": f"key of {name}"})


class Words(HTMLParser):
    """Letters that a page shows or speaks, outside of its expressions."""

    def __init__(self):
        super().__init__()
        self.words = []

    def handle_data(self, data):
        self.words += re.findall(r"[^\W\d_]+", data)

    def handle_starttag(self, tag, attributes):
        spoken = dict(attributes)
        if tag != "meta":
            for name in SPOKEN:
                self.handle_data(spoken.get(name) or "")


def test_every_text_stands_in_both_languages():
    places = {key: [sorted(re.findall(r"{(\w*)", text)) for text in texts] for key, texts in catalogue().items()}
    assert [key for key, texts in catalogue().items() if len(texts) != len(Language) or not all(texts)] == []
    assert [key for key, (english, arabic) in places.items() if english != arabic] == []
    untranslated = [
        key for key, (english, arabic) in catalogue().items() if english != arabic and not re.search("[ء-ي]", arabic)
    ]
    assert untranslated == ["other_language"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_holds_no_text_of_its_own_and_nothing_inline(template):
    text = re.sub(r"{{.*?}}|{%.*?%}|{#.*?#}", "", template.read_text("utf-8"), flags=re.DOTALL)
    words = Words()
    words.feed(text)
    assert words.words == []
    assert not re.search(r"<script(?![^>]*src)|\son\w+=|\sstyle=|javascript:|hx-on|hx-vals=.js", text)


def test_every_text_is_used_and_every_used_text_exists():
    source = "".join(path.read_text("utf-8") for path in TEMPLATES)
    named, begun = set(re.findall(r"\bt\.(\w+)", source)), set(re.findall(r'"(\w+_)" ~', source))
    python = "".join(path.read_text("utf-8") for path in (TEMPLATES[0].parents[1]).glob("*.py"))
    named |= {key for key in catalogue() if f'"{key}"' in python}
    assert named - catalogue().keys() == set()
    assert [key for key in catalogue() if key not in named and not key.startswith(tuple(begun))] == []


def test_a_tried_request_shows_terms_sources_and_versions_and_is_on_record_nowhere(open_console, service):
    page = open_console.get(HOME).get_data(as_text=True)
    assert page.count('<rect class="term0') == 3 + 1  # that of the key
    assert "3 shown of 30 candidates" in page
    for part in ("caller", "ranker", "clicks", "merchant", "not logged"):
        assert part in page
    assert service.slates == {}


def test_what_comes_from_elsewhere_is_escaped(open_console):
    page = open_console.get("/console/en/try?surface=search&query=<script>alert(1)</script>").get_data(as_text=True)
    assert "<script>alert" not in page
    assert "&lt;b&gt;item 0&lt;/b&gt;" in page


def test_a_request_that_is_refused_is_explained_in_its_place(open_console):
    for query, reason in (
        ("surface=search", "needs query"),
        ("surface=home&k=many", "k: "),
        ("surface=product_page&page_item_id=gone", "is not in the catalogue"),
    ):
        answer = open_console.get(f"/console/ar/try?{query}", headers={"HX-Request": "true"})
        text = answer.get_data(as_text=True)
        assert answer.status_code == 400
        assert reason in text
        assert 'role="alert"' in text
        assert "<html" not in text


@pytest.mark.parametrize("served", [False, True])
def test_what_no_item_has_a_value_under_is_explained(open_console, service, monkeypatch, served):
    """Whether the model in force is broken, or only another policy."""
    preview = service.preview

    def broken(request, *, policy=None):
        if served and policy is None:
            return preview(request)
        raise NotFinite("ctr, value of 30 of 30 candidates is not finite")

    monkeypatch.setattr(service, "preview", broken)
    answer = open_console.get(f"{HOME}&against=in+force")
    text = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "nothing to rank" in text
    assert "30 of 30 candidates" in text
    assert ("3 shown of 30 candidates" in text) == served


def test_both_languages_are_whole_pages_that_lead_to_each_other(open_console):
    for language, other, direction in (("en", "ar", "ltr"), ("ar", "en", "rtl")):
        page = open_console.get(f"/console/{language}/try").get_data(as_text=True)
        assert f'<html lang="{language}" dir="{direction}">' in page
        assert f'href="/console/{other}/try"' in page
    assert open_console.get("/console", headers={"Accept-Language": "ar-SA"}).location == "/console/ar/try"
    assert open_console.get("/console").location == "/console/en/try"
    assert open_console.get("/console/fr/try").status_code == 404


def test_without_keys_the_console_says_so_and_lets_everybody_in(open_console):
    assert "has no API keys" in open_console.get("/console/en/try").get_data(as_text=True)


def test_with_keys_nothing_is_seen_before_one_signs_in(console):
    assert console.get(HOME).location == "/console/en/login"
    assert console.get(HOME, headers={"HX-Request": "true"}).headers["HX-Redirect"] == "/console/en/login"
    assert sign_in(console, "nobody").status_code == 401
    assert console.get(HOME).status_code == 303
    assert sign_in(console, "shop").status_code == 303
    page = console.get(HOME).get_data(as_text=True)
    assert "needs the scope test" in page
    assert "<bdi>shop</bdi>" in page
    assert "has no API keys" not in page
    assert sign_in(console, "lab").status_code == 303
    assert "needs the scope test" not in console.get(HOME).get_data(as_text=True)
    assert sign_in(console, "pixel").status_code == 303
    assert console.get(HOME).status_code == 403


def test_what_waits_for_the_desk_is_answered_beside_the_slot_and_its_absence_is_said(open_console):
    for part in ("desk", "served", "experiments", "monitoring"):
        for language in ("en", "ar"):
            assert f"/console/{language}/{part}".startswith(BESIDE)
        answer = open_console.get(f"/console/en/{part}")
        assert (answer.status_code, "value-model serve RUN" in answer.get_data(as_text=True)) == (503, True)
    assert not HOME.startswith(BESIDE)


def test_signing_out_ends_the_session(console):
    sign_in(console, "ops")
    console.post("/console/en/logout", data={"csrf": token(console.get("/console/en/try"))})
    assert console.get(HOME).location == "/console/en/login"


def test_a_write_needs_the_token_of_its_session(console):
    sign_in(console, "ops")
    for form in ({}, {"csrf": "x"}):
        assert console.post("/console/en/logout", data=form).status_code == 403
    assert console.get(HOME).status_code == 200
    stranger = create_app(FakeService(), console=ConsoleSettings("secret")).test_client()
    assert stranger.post("/console/en/login", data={"key": "key of ops"}).status_code == 403


def test_a_key_has_one_rate_for_the_console_and_the_other_routes(service, monkeypatch):
    monkeypatch.setattr("serving.app.RateLimits", lambda: RateLimits(clock=lambda: 0.0))
    monkeypatch.setattr("serving.console.sessions.PACE", RateLimit(0.1, burst=2))
    slow = toml().replace('scopes = ["rank"]', 'scopes = ["rank"]\nper_second = 0.5\nburst = 3')
    keys = KeyRing.from_toml(slow, file="keys.toml")
    client = create_app(service, clock=lambda: NOW, keys=keys, console=ConsoleSettings("secret")).test_client()
    sign_in(client, "shop")
    body, key = {"surface": "home", "user_id": "u"}, {"Authorization": "Bearer key of shop"}
    assert client.post("/v1/recommend", json=body, headers=key).status_code == 200
    answers = [client.get(HOME) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["Retry-After"] == "2"
    assert "3 at once; try again in 2.00 s" in answers[2].get_data(as_text=True)
    assert client.post("/v1/recommend", json=body, headers=key).status_code == 429
    sign_in(client, "ops")  # of no rate of its own
    assert [client.get("/console/ar/try").status_code for _ in range(3)] == [200, 200, 429]


def test_a_client_whose_sign_ins_fail_waits_whatever_its_key(service, monkeypatch, caplog):
    now, counted = [0.0], Metrics()
    monkeypatch.setattr("serving.app.RateLimits", lambda: RateLimits(clock=lambda: now[0]))
    keys = KeyRing.from_toml(toml(), file="keys.toml")
    app = create_app(service, clock=lambda: NOW, keys=keys, console=ConsoleSettings("secret"), metrics=counted)

    def answers(names, address):
        client = app.test_client()
        client.environ_base["REMOTE_ADDR"] = address
        return [sign_in(client, name) for name in names]

    def statuses(names, address):
        return [answer.status_code for answer in answers(names, address)]

    assert statuses(["shop"] * 7, "10.0.0.1") == [303] * 7  # what succeeds costs nothing
    *failed, refused = answers(["x"] * 5 + ["shop"], "10.0.0.1")
    assert [answer.status_code for answer in failed] == [401] * 5
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    assert "5 sign-ins may fail at once, and one in 30 s; try again in 30.00 s" in refused.get_data(as_text=True)
    assert statuses(["shop"], "::ffff:10.0.0.1") == [429]
    assert statuses(["shop"], "10.0.0.2") == [303]
    assert statuses(["x"] * 6, "2001:db8::1") == [401] * 5 + [429]
    assert statuses(["shop"], "2001:db8::ffff:2") == [429]
    assert statuses(["shop"], "2001:db8:0:1::1") == [303]
    now[0] = 29.0
    assert statuses(["shop"], "10.0.0.1") == [429]
    now[0] = 30.0
    assert statuses(["x", "x"], "10.0.0.1") == [401, 429]
    assert "from 10.0.0.1 failed" in caplog.text
    fates = {"accepted": 9, "failed": 11, "refused": 6}
    for fate, sign_ins in fates.items():
        assert f'value_model_console_sign_ins_total{{fate="{fate}"}} {sign_ins}.0' in counted.render().decode()


def test_failures_of_a_bounded_number_of_clients_are_remembered():
    limits, limit = RateLimits(clock=lambda: 0.0, most=2), RateLimit(1.0, burst=1)
    waits = [limits.wait(name, limit) for name in ("a", "b", "a", "c", "a", "b")]
    assert waits == [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_the_cookie_is_for_the_console_alone_and_holds_no_key(console):
    cookie = sign_in(console, "ops").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/console", f"Max-Age={LASTS}"} <= set(cookie.split("; "))
    digest = hashlib.sha256(b"key of ops").hexdigest()
    assert "key of ops" not in cookie
    assert digest not in cookie


def test_a_session_lasts_as_long_as_its_secret_its_key_and_its_time(monkeypatch):
    ring = KeyRing.from_toml(toml(), file="keys.toml")
    sessions, session = Sessions("secret", ring, RateLimits()), new_session(key_mark("key of ops"))
    cookie = sessions.cookie(session)
    assert Sessions("secret", ring, RateLimits()).read(cookie) == session  # another worker
    assert sessions.caller(session).name == "ops"
    assert Sessions("another", ring, RateLimits()).read(cookie) is None
    assert sessions.read(cookie[:-1]) is None
    assert sessions.read("") is None
    turned = KeyRing.from_toml(toml({"shop": ["rank"]}), file="keys.toml")
    assert Sessions("secret", turned, RateLimits()).caller(session).scopes == frozenset()
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + LASTS + 5)
    assert sessions.read(cookie) is None
    assert sessions.caller(Session("")).scopes == frozenset()


def test_pages_allow_nothing_from_elsewhere_and_are_kept_nowhere(open_console):
    for path in ("/console/en/try", "/console/en/login", "/console/static/htmx.min.js"):
        headers = open_console.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert open_console.get("/console/en/try").headers["Cache-Control"] == "no-store"
    assert COOKIE not in (open_console.get("/healthz").headers.get("Set-Cookie") or "")


def test_the_service_without_a_bundle_says_so_in_the_page(service, open_console, monkeypatch):
    from serving.service import NotReady

    def missing():
        raise NotReady("no bundle is loaded yet")

    monkeypatch.setattr(service, "current", missing)
    answer = open_console.get(HOME)
    assert answer.status_code == 503
    assert "no bundle is loaded yet" in answer.get_data(as_text=True)
    monkeypatch.setattr(service, "current", lambda: 1 / 0)
    answer = open_console.get(HOME)
    assert answer.status_code == 500
    assert "its log says why" in answer.get_data(as_text=True)


def test_two_policies_stand_side_by_side(open_console):
    answer = open_console.get(f"{HOME}&against=in+force&weights=w_click=0.5")
    page = answer.get_data(as_text=True)
    assert page.count('class="compared"') == 2
    assert "3 of 3 places hold another item" in page
    assert page.count("▲1") == 2
    assert page.count("+<span") == 1
    for query, reason in (
        ("weights=w_clicks=1", "there is no weight &#39;w_clicks&#39;"),
        ("weights=w_click=", "w_click is"),
        ("weights=w_click=1e9", "w_click lies between"),
        ("against=77", "there is no policy"),
    ):
        answer = open_console.get(f"{HOME}&{query}")
        assert answer.status_code == 400
        assert reason in answer.get_data(as_text=True)
