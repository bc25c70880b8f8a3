"""A class that says what a client is: ``@client class Github: …``, or, the same, ``class Github(Client): …``.

What the class says are settings (see `formation.client.settings`); what it does are its methods, which call
``self.request``. ``self.request`` is there before the body of ``__init__`` runs; it reads the settings when it is
first used, or at the end of ``__init__``: an attribute of the instance first, then what the constructor got, then
the classes in their order.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABCMeta
from contextlib import suppress
from dataclasses import Field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from warnings import warn

import attrs

from formation.client.async_sender import AsyncSender
from formation.client.sender import Sender
from formation.client.settings import NAMES, Settings, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from formation.client.base_sender import BaseSender
    from formation.http.timeouts import Timeout

K = TypeVar("K")
_IDENTITY = ("__module__", "__qualname__", "__doc__", "__firstlineno__")  # the last one since 3.13
_MISSING = object()
_NEAR = 0.85  # one letter of seven is wrong, or two are swapped: tiemout, base_url, header


def _declared(cls: type, name: str) -> Any:
    """What a class says about ``name``, as it stands there: a function is not bound, a ``staticmethod`` is opened."""
    value = inspect.getattr_static(cls, name, _MISSING)
    return value.__func__ if isinstance(value, staticmethod) else value


_FIELDS = (Field, type(attrs.field()))  # what stands for one until its class is done


def _is_attribute(value: Any) -> bool:
    """Whether the value is to be had from the instance only: a slot, a property, a field."""
    return isinstance(value, _FIELDS) or (hasattr(value, "__get__") and not callable(value))


def _warn_of_misspelled(cls: type, said: Iterable[str]) -> None:
    """Warn of what a class says that looks like a setting and is none: it would do nothing, and say nothing.

    It may be the class's own, so it is no error. Looked at are values, not methods, whose names are public; and not
    where the setting itself is ``said`` as well.
    """
    seen = {each for base in cls.__bases__ if isinstance(base, ClientType) for each in base.__mro__}
    settings = set(NAMES).difference(said)
    for name, value in [pair for each in cls.__mro__ if each not in seen for pair in vars(each).items()]:
        if name.startswith("_") or name in NAMES or hasattr(value, "__get__"):
            continue
        if near := get_close_matches(name, settings, n=1, cutoff=_NEAR):
            message = f"{cls.__name__}.{name} is no setting of a client: did you mean {near[0]!r}? If it is your own, "
            warn(message + f"give it another name, such as _{name}", stacklevel=_of_the_user())


def _of_the_user() -> int:
    """Return the stacklevel of the line that makes the class."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001  which has no other name
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        level, frame = level + 1, frame.f_back
    return level


class ClientType(ABCMeta):
    """The type of client classes: checks what a class says when it is made, and sorts the constructor's arguments."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, namespace, **kwargs)
        said = {name: _declared(cls, name) for name in NAMES}
        Settings(**{name: value for name, value in said.items() if value is not _MISSING and not _is_attribute(value)})
        _warn_of_misspelled(cls, {name for name, value in said.items() if value is not _MISSING})

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a client: settings are the client's, the rest goes to ``__init__``, and so does a setting it names."""
        construct: Any = cls.__init__  # type: ignore[misc]  # of this class, whatever it takes
        if construct is BaseClient.__init__:  # it has none of its own
            construct = _next_constructor(cls)
        wanted = inspect.signature(construct).parameters
        given = {name: kwargs.pop(name) for name in NAMES if name in kwargs and name not in wanted}
        if construct is object.__init__:
            refuse_unknown(kwargs, NAMES, cls.__name__ + "()")
            if args:
                message = f"{cls.__name__}() takes settings by name: {cls.__name__}(base_uri=…)"
                raise TypeError(message)
        instance: Any = cls.__new__(cls, *args, **kwargs)  # type: ignore[arg-type]  # of this class, too
        object.__setattr__(instance, "_given", given)  # not stopped by a frozen class
        construct(instance, *args, **kwargs)
        instance.request  # noqa: B018  what does not fit is refused now
        return instance


class BaseClient(metaclass=ClientType):
    """What client classes have in common. An edge says how to send: ``_sender`` and ``_connect``."""

    _sender: ClassVar[type[BaseSender[Any]]]
    _connect: ClassVar[Any]
    _given: dict[str, Any]

    if TYPE_CHECKING:
        base_uri: str | None
        middleware: Any
        response_as: Any
        timeout: Timeout
        auth: Any
        cookies: Any
        max_body: int | None
        max_redirects: int
        allow_origins: Any
        per_hop: Any
        params_encoder: Any
        endpoint: Any

    def __init__(self, **settings: Any) -> None:
        """Take settings, for a constructor that passes them on; what its caller said outdoes them.

        Raises:
            TypeError: an unknown setting.
            RuntimeError: ``self.request`` has been used already.
        """
        given = {name: settings.pop(name) for name in NAMES if name in settings}
        if given and "_request" in self.__dict__:
            message = (
                f"too late for {', '.join(given)}: self.request has been used; call super().__init__() before that"
            )
            raise RuntimeError(message)
        object.__setattr__(self, "_given", given | self._given)
        if _next_constructor(type(self)) is object.__init__:
            refuse_unknown(settings, NAMES, type(self).__name__ + "()")
        super().__init__(**settings)

    def _make_request(self) -> Any:
        """Return the sender, made of the settings at the first use."""
        made = self.__dict__.get("_request")
        if made is None:
            said = {name: value for name in NAMES if (value := _said(self, name)) is not _MISSING}
            made = self._sender(Settings(**said), self._connect, name=type(self).__name__)
            made = self.__dict__.setdefault("_request", made)  # the same for all threads, and for a frozen class
        return made

    def extend(self, **settings: Any) -> Self:
        """Return a client like this one with other settings.

        It shares the connection pool, which stays this one's to close.

        Raises:
            TypeError: an unknown setting.
        """
        sibling = object.__new__(type(self))
        state: Any = object.__getstate__(self)  # all of it, whatever kind of class it is
        for each in state if isinstance(state, tuple) else (state,):
            for name, value in each.items():
                object.__setattr__(sibling, name, value)
        object.__setattr__(sibling, "_request", self._make_request().extend(**settings))
        return sibling

    def __reduce__(self) -> Any:
        """Leave the connections behind: a copy makes its own."""
        state: Any = self.__getstate__()
        state = tuple(map(_settled, state)) if isinstance(state, tuple) else _settled(state)
        return _blank, (type(self), self._given), state


def _next_constructor(cls: type) -> Any:
    """The constructor that comes after ours."""
    return super(BaseClient, cls).__init__  # type: ignore[misc]  # of that class, whatever it takes


def _settled(state: Any) -> Any:
    return {name: value for name, value in state.items() if name != "_request"} if isinstance(state, dict) else state


def _blank(cls: type[BaseClient], given: dict[str, Any]) -> BaseClient:
    instance = object.__new__(cls)
    object.__setattr__(instance, "_given", given)
    return instance


class SyncClient(BaseClient):
    """A client that sends and waits. Every sync edge has one of its own, which is called ``Client``.

    Its settings, see `formation.client.settings.Settings`, are attributes of the class or arguments of the constructor.

    >>> from formation.for_requests import Client, json_response
    >>> class Github(Client):
    ...     base_uri = "https://api.github.com"
    ...     response_as = json_response
    ...
    ...     def stars(self, owner, repo):
    ...         return self.request.get("/repos/{owner}/{repo}/stargazers", path={"owner": owner, "repo": repo})
    >>> Github(timeout=10).request
    <Github: https://api.github.com>
    """

    _sender = Sender

    @property
    def request(self) -> Sender:
        """Sends: ``self.request.get(path, …)``, see `Sender`."""
        return self._make_request()  # type: ignore[no-any-return]

    def pages(self, call: Callable[[], Any], **how: Any) -> Iterator[Any]:
        """Make a call and then the same for each next page, see `Sender.pages`."""
        return self.request.pages(call, **how)

    def close(self) -> None:
        """Close the connection pool; a second time does nothing. A client is a context manager that does so."""
        self.request.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(BaseClient):
    """A client whose calls are awaited; in all else it is as `SyncClient` says.

    >>> from formation.for_aiohttp import Client
    >>> class Github(Client):
    ...     base_uri = "https://api.github.com"
    ...
    ...     async def stars(self, owner, repo):
    ...         path = {"owner": owner, "repo": repo}
    ...         return (await self.request.get("/repos/{owner}/{repo}/stargazers", path=path)).body
    >>> Github(timeout=10).request
    <Github: https://api.github.com>
    """

    _sender = AsyncSender

    @property
    def request(self) -> AsyncSender:
        """Sends: ``await self.request.get(path, …)``, see `AsyncSender`."""
        return self._make_request()  # type: ignore[no-any-return]

    def pages(self, call: Callable[[], Any], **how: Any) -> AsyncIterator[Any]:
        """Make a call and then the same for each next page, see `AsyncSender.pages`."""
        return self.request.pages(call, **how)

    async def close(self) -> None:
        """Close the connection pool; a second time does nothing. A client is an async context manager that does so."""
        await self.request.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def decorator(base: type[BaseClient]) -> Callable[..., Any]:
    """Make the ``@client`` of an edge, which makes of any class one that derives from ``base`` as well."""

    def client(cls: type[K] | None = None, **settings: Any) -> Any:
        """Make a class a client. With arguments, ``@client(base_uri=…)``, they are settings of the class.

        >>> from formation.for_requests import client
        >>> @client
        ... class Github:
        ...     base_uri = "https://api.github.com"
        ...
        ...     def stars(self, owner, repo):
        ...         return self.request.get("/repos/{owner}/{repo}/stargazers", path={"owner": owner, "repo": repo})
        >>> Github().base_uri
        'https://api.github.com'
        """
        refuse_unknown(settings, NAMES, "client()")
        if cls is None:
            return lambda cls: client(cls, **settings)
        if not inspect.isclass(cls):
            message = f"@client takes a class, got {cls!r}"
            raise TypeError(message)
        if issubclass(cls, base):
            return ClientType(cls.__name__, (cls,), {**_names(cls), **settings})
        return ClientType(cls.__name__, (cls, base), {**_names(cls), **_fields(cls), **settings})

    return client


def _names(cls: type) -> dict[str, Any]:
    return {name: getattr(cls, name) for name in _IDENTITY if hasattr(cls, name)}


def _fields(cls: type) -> dict[str, Any]:
    """What a class that derives from ``cls`` repeats, for a decorator around ours and for ``Github[int]``."""
    repeated: dict[str, Any] = {}
    with suppress(NameError):  # CPython 3.14 looks only now at what they name
        repeated["__annotations__"] = annotations = inspect.get_annotations(cls)
        repeated |= {name: cls.__dict__[name] for name in annotations if name in cls.__dict__}
    if parameters := getattr(cls, "__parameters__", ()):
        repeated["__orig_bases__"] = (cls[parameters],)  # type: ignore[index]  # it is generic
    return repeated


def _said(client: BaseClient, name: str) -> Any:
    """What the instance, its constructor or its classes say about ``name``."""
    own = client.__dict__.get(name, _MISSING)
    if own is not _MISSING:
        return own
    value = _declared(type(client), name)
    if _is_attribute(value):
        return getattr(client, name, _MISSING)
    return client._given.get(name, value)  # noqa: SLF001
