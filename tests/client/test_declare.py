"""Classes that say what a client is, in every form that Python has for a class."""

import abc
import copy
import functools
import pickle
import threading
import warnings
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import attrs
import pytest

from formation.client.declare import BaseClient, ClientType, SyncClient, decorator
from formation.client.responses import json_response, text_response
from formation.client.sender import Sender
from formation.client.transport import Transport
from formation.for_requests import Client, client
from formation.http import Response
from formation.keys import REQ_HTTP, RES_HTTP

T = TypeVar("T")
BASE = "https://api.example.com"


def record(ctx):
    """An endpoint that answers with what it was asked for."""
    request = ctx[REQ_HTTP]
    ctx[RES_HTTP] = Response(200, {}, f"{request.method} {request.target}".encode(), request=request, url=request.url)
    return ctx


def asked(made, path="/x", **options):
    """What a client asks its endpoint for."""
    return made.request.get(path, response_as=text_response, **options).body


# The two forms


def test_the_decorator_and_the_base_class_are_the_same_thing():
    @client
    class Decorated:
        """Documented."""

        base_uri = BASE
        endpoint = staticmethod(record)

        def user(self, name):
            return self.request.get("/users/{name}", path={"name": name})

    class Derived(Client):
        base_uri = BASE
        endpoint = staticmethod(record)
        user = Decorated.user

    for kind in (Decorated, Derived):
        made = kind()
        assert made.user("ann").body == b"GET https://api.example.com/users/ann"
        assert isinstance(made, Client)
        assert isinstance(made.request, Sender)
        assert repr(made.request) == f"<{kind.__name__}: {BASE}>"
    assert (Decorated.__name__, Decorated.__doc__, Decorated.__module__) == ("Decorated", "Documented.", __name__)
    assert Decorated.__qualname__.endswith("<locals>.Decorated")


def test_an_endpoint_that_is_a_plain_function_of_the_class_is_not_bound():
    class Github(Client):
        base_uri = BASE
        endpoint = record

    assert asked(Github()) == "GET https://api.example.com/x"


def test_the_decorator_takes_settings():
    @client(base_uri=BASE, endpoint=record, timeout=3)
    class Github:
        timeout = 2

    made = Github()
    assert asked(made) == "GET https://api.example.com/x"
    assert made.request.settings.timeout == 3
    assert made.timeout == 3


def test_the_decorator_of_a_class_that_is_a_client_already_adds_settings():
    class Github(Client):
        base_uri = BASE

    better = client(endpoint=record)(Github)
    assert asked(better()) == "GET https://api.example.com/x"
    assert issubclass(better, Github)


def test_the_decorator_takes_a_class_and_nothing_else():
    with pytest.raises(TypeError, match="@client takes a class, got"):
        client(lambda: None)
    with pytest.raises(TypeError, match=r"^client\(\) got an unknown argument 'base_url'; did you mean 'base_uri'"):
        client(base_url=BASE)


def test_a_setting_that_does_not_fit_is_refused_where_the_class_is_made():
    with pytest.raises(ValueError, match="base_uri"):

        class Ftp(Client):
            base_uri = "ftp://example.com"

    with pytest.raises(TypeError, match="no middleware"):

        @client
        class Wrong:
            middleware: ClassVar = ["retry"]

    with pytest.raises(ValueError, match="timeout"):

        @client(timeout=0)
        class Hasty:
            pass


# Constructing


def test_without_a_constructor_settings_are_the_arguments():
    class Github(Client):
        base_uri = "https://other.example.com"

    made = Github(base_uri=BASE, endpoint=record, middleware=[], response_as=text_response, timeout=None)
    assert asked(made) == "GET https://api.example.com/x"
    assert made.request.settings.timeout is None


def test_an_unknown_argument_is_a_type_error_that_lists_the_known_ones():
    class Github(Client):
        pass

    with pytest.raises(
        TypeError, match=r"Github\(\) got an unknown argument 'base_url'; did you mean 'base_uri'\?"
    ) as e:
        Github(base_url=BASE)
    assert "max_redirects" in str(e.value)
    with pytest.raises(TypeError, match=r"Github\(\) takes settings by name: Github\(base_uri=…\)"):
        Github(BASE)


def test_a_constructor_gets_what_the_client_does_not_know():
    class Github(Client):
        base_uri = BASE
        endpoint = record

        def __init__(self, token, *, org="acme"):
            self.token, self.org = token, org

    made = Github("t", org="o", timeout=7)
    assert (made.token, made.org, made.request.settings.timeout) == ("t", "o", 7)
    with pytest.raises(TypeError, match="nope"):
        Github("t", nope=1)
    with pytest.raises(TypeError, match="token"):
        Github(timeout=7)


def test_a_setting_that_the_constructor_names_is_the_constructors():
    class Github(Client):
        endpoint = record

        def __init__(self, base_uri, timeout=9):
            self.base_uri = base_uri + "/v1"
            self.timeout = timeout

    made = Github(base_uri=BASE)
    assert asked(made) == "GET https://api.example.com/v1/x"
    assert made.request.settings.timeout == 9


def test_a_constructor_that_takes_anything_gets_no_settings():
    class Github(Client):
        endpoint = record

        def __init__(self, **kwargs):
            self.kwargs = kwargs

    made = Github(base_uri=BASE, colour="red")
    assert made.kwargs == {"colour": "red"}
    assert asked(made) == "GET https://api.example.com/x"


def test_request_is_there_before_the_body_of_the_constructor_runs():
    seen = []

    @client
    class Decorated:
        base_uri = BASE
        endpoint = staticmethod(record)

        def __init__(self):
            seen.append(asked(self))
            super().__init__()

    class Derived(Client):
        base_uri = BASE
        endpoint = record

        def __init__(self):
            seen.append(asked(self))

    class Super(Derived):
        def __init__(self):
            seen.append(asked(self))
            super().__init__()

    Decorated()
    Derived()
    Super()
    assert seen == ["GET https://api.example.com/x"] * 4


def test_attributes_that_the_constructor_sets_are_settings():
    class Github(Client):
        base_uri = "https://other.example.com"
        endpoint = record

        def __init__(self, host):
            super().__init__()
            self.base_uri = f"https://{host}"
            self.middleware = []
            self.headers = {"X-A": "1"}

    made = Github("api.example.com")
    assert asked(made) == "GET https://api.example.com/x"
    assert made.request.settings.headers == {"X-A": "1"}


def test_a_constructor_may_pass_settings_on():
    class Github(Client):
        endpoint = record
        timeout = 1

        def __init__(self, host, **kwargs):
            super().__init__(base_uri=f"https://{host}", timeout=2, **kwargs)

    made = Github("api.example.com")
    assert asked(made) == "GET https://api.example.com/x"
    assert made.request.settings.timeout == 2
    assert Github("h", timeout=3).request.settings.timeout == 3
    with pytest.raises(TypeError, match=r"Github\(\) got an unknown argument 'tiemout'; did you mean 'timeout'"):
        Github("h", tiemout=3)
    with pytest.raises(ValueError, match="expected scheme://host"):
        Github("")


def test_settings_that_come_after_the_first_use_come_too_late():
    class Github(Client):
        base_uri = BASE
        endpoint = record

        def __init__(self):
            asked(self)
            super().__init__(timeout=2, max_body=3)

    with pytest.raises(RuntimeError, match=r"too late for timeout, max_body: self\.request"):
        Github()


def test_a_frozen_class_may_pass_settings_on():
    @attrs.frozen
    class Github(Client):
        host: str
        endpoint = staticmethod(record)

        def __attrs_pre_init__(self):
            super().__init__(base_uri=BASE)

    assert asked(Github("h")) == "GET https://api.example.com/x"


def test_an_attribute_that_does_not_fit_is_refused_by_the_constructor():
    class Github(Client):
        def __init__(self):
            self.timeout = -1

    with pytest.raises(ValueError, match="timeout"):
        Github()


def test_settings_may_be_properties():
    class Github(Client):
        endpoint = record

        def __init__(self, host):
            self.host = host

        @property
        def base_uri(self):
            return f"https://{self.host}"

        @functools.cached_property
        def headers(self):
            return {"X-Host": self.host}

    made = Github("api.example.com")
    assert asked(made) == "GET https://api.example.com/x"
    assert made.request.settings.headers == {"X-Host": "api.example.com"}


# attrs, dataclasses and other kinds of classes


def attrs_inside():
    @client
    @attrs.define
    class Github:
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = attrs.field(factory=list)
        cookies: dict = attrs.field(factory=dict)
        endpoint = staticmethod(record)

    return Github


def attrs_outside():
    @attrs.define
    @client
    class Github:
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = attrs.field(factory=list)
        cookies: dict = attrs.field(factory=dict)
        endpoint = staticmethod(record)

    return Github


def attrs_derived():
    @attrs.define
    class Github(Client):
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = attrs.field(factory=list)
        cookies: dict = attrs.field(factory=dict)
        endpoint = staticmethod(record)

    return Github


def attrs_frozen():
    @attrs.frozen
    class Github(Client):
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = attrs.field(factory=list)
        cookies: dict = attrs.field(factory=dict)
        endpoint = staticmethod(record)

    return Github


def attrs_without_slots():
    @client
    @attrs.define(slots=False)
    class Github:
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = attrs.field(factory=list)
        cookies: dict = attrs.field(factory=dict)
        endpoint = staticmethod(record)

    return Github


def dataclass_inside():
    @client
    @dataclass
    class Github:
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = field(default_factory=list)
        cookies: dict = field(default_factory=dict)
        endpoint: ClassVar = staticmethod(record)

    return Github


def dataclass_outside():
    @dataclass
    @client
    class Github:
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = field(default_factory=list)
        cookies: dict = field(default_factory=dict)
        endpoint: ClassVar = staticmethod(record)

    return Github


def dataclass_derived():
    @dataclass
    class Github(Client):
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = field(default_factory=list)
        cookies: dict = field(default_factory=dict)
        endpoint: ClassVar = staticmethod(record)

    return Github


def dataclass_frozen():
    @client
    @dataclass(frozen=True)
    class Github:
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = field(default_factory=list)
        cookies: dict = field(default_factory=dict)
        endpoint: ClassVar = staticmethod(record)

    return Github


def dataclass_slots():
    @client
    @dataclass(slots=True)
    class Github:
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = field(default_factory=list)
        cookies: dict = field(default_factory=dict)
        endpoint: ClassVar = staticmethod(record)

    return Github


def dataclass_slots_derived():
    @dataclass(slots=True, frozen=True)
    class Github(Client):
        owner: str
        base_uri: str = BASE
        timeout: float = 4
        seen: list = field(default_factory=list)
        cookies: dict = field(default_factory=dict)
        endpoint: ClassVar = staticmethod(record)

    return Github


FORMS = [
    attrs_inside,
    attrs_outside,
    attrs_derived,
    attrs_frozen,
    attrs_without_slots,
    dataclass_inside,
    dataclass_outside,
    dataclass_derived,
    dataclass_frozen,
    dataclass_slots,
    dataclass_slots_derived,
]


@pytest.mark.parametrize("form", FORMS)
def test_fields_of_attrs_classes_and_dataclasses_are_arguments_and_settings(form):
    kind = form()
    made = kind("ann", timeout=5, cookies={"a": "1"}, max_body=100)
    assert (made.owner, made.base_uri, made.timeout, made.seen) == ("ann", BASE, 5, [])
    settings = made.request.settings
    assert (settings.base_uri, settings.timeout, settings.max_body) == (BASE, 5, 100)
    assert settings.cookies == made.cookies == {"a": "1"}
    assert kind("ann").request.settings.cookies == {}
    assert asked(made) == "GET https://api.example.com/x"
    assert kind("bob", base_uri="https://h").request.settings.base_uri == "https://h"
    assert kind("bob").seen is not made.seen
    with pytest.raises(TypeError):
        kind()
    with pytest.raises(TypeError):
        kind("ann", nope=1)
    with pytest.raises(ValueError, match="timeout"):
        kind("ann", timeout=0)


@pytest.mark.parametrize("form", FORMS)
def test_a_sibling_of_any_form_has_the_same_attributes_and_its_own_settings(form):
    made = form()("ann", max_body=100)
    sibling = made.extend(timeout=8)
    assert (sibling.owner, sibling.base_uri) == ("ann", BASE)
    assert sibling.seen is made.seen
    assert (sibling.request.settings.timeout, made.request.settings.timeout) == (8, 4)
    assert sibling.request.settings.max_body == 100
    assert asked(sibling) == asked(made)


@pytest.mark.parametrize("form", FORMS)
def test_a_subclass_of_any_form_inherits_and_overrides(form):
    class Better(form()):
        base_uri = "https://better.example.com"
        timeout = 6

        def me(self):
            return asked(self, f"/{self.owner}")

    made = Better("ann", base_uri="https://better.example.com")
    assert made.me() == "GET https://better.example.com/ann"


def test_a_client_may_be_abstract():
    class Base(Client):
        endpoint = record

        @property
        @abc.abstractmethod
        def base_uri(self): ...

    class Github(Base):
        base_uri = BASE

    with pytest.raises(TypeError, match="abstract"):
        Base()
    assert asked(Github()) == "GET https://api.example.com/x"


def test_a_client_may_be_an_abc_of_others():
    @client
    class Github(abc.ABC):
        base_uri = BASE
        endpoint = staticmethod(record)

        @abc.abstractmethod
        def me(self): ...

    with pytest.raises(TypeError, match="abstract"):
        Github()

    class Real(Github):
        def me(self):
            return asked(self)

    assert Real().me() == "GET https://api.example.com/x"


def test_a_client_may_be_generic():
    class Derived(Client, Generic[T]):
        base_uri = BASE
        endpoint = record

    @client
    class Decorated(Generic[T]):
        base_uri = BASE
        endpoint = staticmethod(record)

    for kind in (Derived, Decorated):
        assert asked(kind[int]()) == "GET https://api.example.com/x"
        assert kind[int]().__orig_class__ == kind[int]

        class Of(kind[str]):
            pass

        assert asked(Of()) == "GET https://api.example.com/x"


def test_a_client_may_have_other_bases_and_class_arguments():
    class Mixin:
        def __init_subclass__(cls, *, tag="", **kwargs):
            super().__init_subclass__(**kwargs)
            cls.tag = tag

        def __init__(self, colour):
            super().__init__()
            self.colour = colour

    class Github(Mixin, Client, tag="t"):
        base_uri = BASE
        endpoint = record

    made = Github("red")
    assert (made.colour, made.tag) == ("red", "t")
    assert asked(made) == "GET https://api.example.com/x"


def test_what_comes_after_the_client_gets_what_the_client_does_not_know():
    class Coloured:
        def __init__(self, colour, timeout=7):
            self.colour, self.patience = colour, timeout

    class Plain(Client, Coloured):
        base_uri = BASE
        endpoint = record

    class Passing(Client, Coloured):
        endpoint = record

        def __init__(self):
            super().__init__(base_uri=BASE, colour="blue")

    assert (Plain("red").colour, Plain("red", timeout=8).patience) == ("red", 8)
    assert Passing().colour == "blue"
    assert asked(Plain("red")) == asked(Passing()) == "GET https://api.example.com/x"
    with pytest.raises(TypeError, match="nope"):
        Plain("red", nope=1)


def test_a_client_may_be_a_singleton():
    class Github(Client):
        base_uri = BASE
        endpoint = record
        only = None

        def __new__(cls):
            cls.only = cls.only or super().__new__(cls)
            return cls.only

    assert Github() is Github()
    assert asked(Github()) == "GET https://api.example.com/x"


def test_a_class_that_keeps_its_own_metaclass_says_so():
    class Meta(type):
        pass

    with pytest.raises(TypeError, match="metaclass conflict"):

        @client
        class Github(metaclass=Meta):
            pass


# Inheriting


def each_setting():
    def log(ctx, call):
        return call(ctx)

    return {
        "base_uri": ("https://a.example.com", "https://b.example.com"),
        "middleware": ([log], []),
        "response_as": (json_response, None),
        "timeout": (1, None),
        "auth": (("a", "b"), None),
        "cookies": ({"a": "1"}, {"b": "2"}),
        "headers": ({"A": "1"}, {"B": "2"}),
        "max_body": (1, None),
        "max_redirects": (1, 0),
        "allow_origins": (["https://c.example.com"], []),
        "per_hop": ([log], []),
        "params_encoder": (lambda params: params, None),
        "endpoint": (record, None),
    }


@pytest.mark.parametrize("name", each_setting())
def test_each_setting_is_inherited_and_overridden_with_none_as_a_value(name):
    first, second = each_setting()[name]
    base = type(Client)("Base", (Client,), {name: staticmethod(first) if callable(first) else first})
    heir = type(Client)("Heir", (base,), {})
    other = type(Client)("Other", (base,), {name: second})
    plain = type(Client)("Plain", (Client,), {})

    def told(made):
        return getattr(made.request.settings, name)

    inherited, overridden = told(base()), told(other())
    assert inherited != overridden
    assert told(heir()) == inherited
    assert told(heir(**{name: second})) == overridden
    assert told(base(**{name: second})) == overridden
    assert told(plain(**{name: first})) == inherited
    assert told(base().extend(**{name: second})) == overridden
    assert told(other().extend(**{name: first})) == inherited

    def init(self):
        setattr(self, name, second)

    assert told(type(Client)("Own", (base,), {"__init__": init})()) == overridden
    assert told(type(Client)("Own", (base,), {"__init__": init})(**{name: first})) == overridden


def test_a_subclass_of_a_decorated_class_inherits_and_may_be_decorated_again():
    @client
    class Base:
        base_uri = BASE
        endpoint = staticmethod(record)
        timeout = 1

        def __init__(self, name):
            self.name = name

        def me(self):
            return asked(self, f"/{self.name}")

    class Plain(Base):
        timeout = 2

    @client
    class Again(Base):
        timeout = 3

        def __init__(self):
            super().__init__("again")

    assert Base("a").me() == Plain("a").me() == "GET https://api.example.com/a"
    assert Again().me() == "GET https://api.example.com/again"
    assert [each.request.settings.timeout for each in (Base("a"), Plain("a"), Again())] == [1, 2, 3]


def test_of_several_classes_the_first_that_says_something_wins():
    class Fast(Client):
        timeout = 1

    class Slow(Client):
        timeout = 100
        base_uri = BASE

    class Both(Fast, Slow):
        pass

    assert (Both().request.settings.timeout, Both().request.settings.base_uri) == (1, BASE)


def test_instances_share_nothing():
    class Github(Client):
        base_uri = BASE
        endpoint = record
        headers: ClassVar = {"A": "1"}

    one, two = Github(), Github()
    one.request.settings.headers["A"] = "2"
    assert two.request.settings.headers["A"] == Github.headers["A"] == "1"
    assert one.request is one.request
    assert one.request is not two.request


# Siblings, copies, closing


class Closing:
    def __init__(self):
        self.closed = 0

    def __call__(self, ctx):
        return record(ctx)

    def close(self):
        self.closed += 1


def test_a_sibling_shares_the_pool_and_leaves_it_open():
    endpoint = Closing()

    class Github(Client):
        base_uri = BASE

        def __init__(self):
            self.endpoint = endpoint

    made = Github()
    sibling = made.extend(base_uri="https://other.example.com")
    assert type(sibling) is Github
    assert (asked(made), asked(sibling)) == ("GET https://api.example.com/x", "GET https://other.example.com/x")
    with sibling:
        pass
    assert endpoint.closed == 0
    with made as same:
        assert same is made
    assert endpoint.closed == 1
    made.close()
    assert endpoint.closed == 1
    with pytest.raises(TypeError, match=r"extend\(\) got an unknown argument 'timout'; did you mean 'timeout'"):
        made.extend(timout=1)


def test_a_sibling_with_an_endpoint_of_its_own_has_no_part_in_the_pool():
    first, second = Closing(), Closing()
    made = Client(base_uri=BASE, endpoint=first)
    sibling = made.extend(endpoint=second)
    asked(made)
    made.close()
    assert asked(sibling) == "GET https://api.example.com/x"
    sibling.close()
    assert (first.closed, second.closed) == (1, 1)


def test_a_sibling_of_a_class_with_an_endpoint_may_go_back_to_the_librarys_own():
    sibling = Client(base_uri=BASE, endpoint=record).extend(endpoint=None)
    assert sibling.request.chain.endpoint.__class__.__module__ == "formation.for_requests.endpoint"
    sibling.close()


def test_closing_waits_for_no_use_and_use_after_it_is_an_error():
    class Github(Client):
        base_uri = BASE
        endpoint = record

    made = Github()
    made.close()
    made.close()
    with pytest.raises(RuntimeError, match="closed"):
        made.request.get("/x")
    with pytest.raises(RuntimeError, match="closed"), made.request.get("/x", stream=True):
        pass


def test_close_inside_of_the_with_is_fine():
    with Client(base_uri=BASE, endpoint=record) as made:
        made.close()


@attrs.define
class Pickled(Client):
    owner: str
    base_uri: str = BASE
    endpoint = staticmethod(record)


@attrs.frozen
class Frozen(Client):
    owner: str
    base_uri: str = BASE
    endpoint = staticmethod(record)


@dataclass
class Data(Client):
    owner: str
    base_uri: str = BASE
    endpoint: ClassVar = staticmethod(record)


class Plain(Client):
    base_uri = BASE
    endpoint = staticmethod(record)

    def __init__(self, owner):
        self.owner = owner


@client
class Decorated:
    base_uri = BASE
    endpoint = staticmethod(record)

    def __init__(self, owner):
        self.owner = owner


@pytest.mark.parametrize("kind", [Pickled, Frozen, Data, Plain, Decorated])
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_client_can_be_copied_and_pickled_and_keeps_what_it_was_given(kind, how):
    made = kind("ann", timeout=(1, 2), max_body=7)
    asked(made)
    other = how(made)
    assert type(other) is kind
    assert other.owner == "ann"
    assert (other.request.settings.timeout, other.request.settings.max_body) == ((1, 2), 7)
    assert asked(other) == "GET https://api.example.com/x"


def test_a_copy_has_a_pool_of_its_own():
    endpoint = Closing()

    class Github(Client):
        base_uri = BASE

        def __init__(self):
            self.endpoint = endpoint

    made = Github()
    other = copy.copy(made)
    made.close()
    assert asked(other) == "GET https://api.example.com/x"


def test_a_copy_of_a_client_that_refers_to_itself_refers_to_itself():
    made = Plain("ann")
    made.users = [made]
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.users == [other]


def test_a_class_may_say_itself_how_it_is_pickled():
    made = pickle.loads(pickle.dumps(Reduced("ann")))
    assert made.owner == "reduced ann"


class Reduced(Plain):
    def __reduce__(self):
        return Reduced, ("reduced " + self.owner,)


def test_what_a_class_with_slots_keeps_elsewhere_goes_to_its_siblings():
    @attrs.define
    class Github(Client):
        owner: str
        endpoint = staticmethod(record)

        def __attrs_post_init__(self):
            self.__dict__["cache"] = {}

    made = Github("ann")
    assert made.extend().cache is made.cache


def test_threads_that_meet_at_the_first_use_make_one_endpoint():
    made = []

    def connect():
        made.append(1)
        return record

    class Github(SyncClient):
        base_uri = BASE
        _connect = staticmethod(connect)

    github, start, bodies = copy.copy(Github()), threading.Barrier(20), []

    def work():
        start.wait(10)
        bodies.append(asked(github))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert bodies == ["GET https://api.example.com/x"] * 20
    assert made == [1]


def test_what_is_made_while_another_thread_closes_is_closed():
    closed, making, made = [], threading.Event(), threading.Event()

    class Endpoint(Closing):
        def close(self):
            closed.append(self)

    def make():
        making.set()
        made.wait(10)
        return Endpoint()

    transport = Transport(make)
    threads = [threading.Thread(target=transport)]
    threads[0].start()
    making.wait(10)
    threads.append(threading.Thread(target=transport.close))
    threads[1].start()
    made.set()
    for each in threads:
        each.join(10)
    assert len(closed) == 1
    with pytest.raises(RuntimeError, match="this client is closed"):
        transport()


def test_another_edge_is_a_base_class_and_its_decorator():
    class Mine(SyncClient):
        _connect = staticmethod(lambda: record)

    @decorator(Mine)
    class Github:
        base_uri = BASE

    assert asked(Github()) == "GET https://api.example.com/x"
    assert isinstance(Github(), BaseClient)
    assert type(Github) is ClientType


# What looks like a setting and is none

MISSPELLED = {"midleware": "middleware", "tiemout": "timeout", "base_url": "base_uri", "header": "headers"}


def by_decorator(**said):
    return client(type("Github", (), said))


def by_decorator_with_settings(**said):
    return client(max_redirects=1)(type("Github", (), said))


def by_base_class(**said):
    return type(Client)("Github", (Client,), said)


@pytest.mark.parametrize("make", [by_decorator, by_decorator_with_settings, by_base_class])
@pytest.mark.parametrize(("name", "setting"), MISSPELLED.items(), ids=MISSPELLED)
def test_a_class_that_says_nearly_a_setting_is_warned_of_where_it_is_made(make, name, setting):
    with pytest.warns(
        UserWarning, match=rf"^Github\.{name} is no setting of a client: did you mean '{setting}'\?"
    ) as said:
        made = make(**{name: []})
    assert [warning.filename for warning in said] == [__file__]
    with warnings.catch_warnings(action="error"):
        type("Sub", (made,), {})  # once is enough


def test_what_is_the_classes_own_is_not_warned_of():
    class Mixin:
        middle = 1

    with warnings.catch_warnings(action="error"):

        @client
        class Github(Mixin):
            retries = 3
            timeouts: ClassVar[int]
            _header = "x"
            base_uri = BASE
            base_url = "https://github.com"  # and base_uri is said as well

            def header(self):
                return "a method"

            @property
            def cookie(self):
                return "a property"

    assert Github.base_url != Github.base_uri
