"""What a pickle would build, as far as it is known without building it.

Numbers, strings, ``None``, tuples and lists stand for themselves. Everything that would be looked
up or called is one of the objects below; none of them does anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchkeep.scan.pickle.policy import Grant


class Global:
    """A name that would be imported.

    Attributes:
        module: Its module, in today's spelling.
        name: Its name there.
        offset: Byte at which it is looked up.
        grant: What the policy lets it do; None where the policy does not know it.
    """

    __slots__ = ("grant", "module", "name", "offset")

    def __init__(self, module: str, name: str, offset: int, grant: Grant | None) -> None:
        self.module = module
        self.name = name
        self.offset = offset
        self.grant = grant

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}"


class Made:
    """What a call would return.

    Attributes:
        maker: What is called: a :class:`Global`, or a value that nothing should call.
        args: Positional arguments.
        kwargs: Keyword arguments of ``NEWOBJ_EX``, as a :class:`Dict`.
        state: State that ``BUILD`` sets; None where it does not.
        pairs: Items that are set on it afterwards.
        items: Items that are appended or added to it afterwards.
    """

    __slots__ = ("args", "items", "kwargs", "maker", "offset", "pairs", "state")

    def __init__(self, maker: Any, args: Any, offset: int, kwargs: Any = None) -> None:
        self.maker = maker
        self.args = args
        self.kwargs = kwargs
        self.state: Any = None
        self.pairs: list[tuple[Any, Any]] = []
        self.items: list[Any] = []
        self.offset = offset

    def is_made_by(self, module: str, name: str) -> bool:
        """Whether ``module.name`` makes it."""
        maker = self.maker
        return isinstance(maker, Global) and maker.module == module and maker.name == name


class Dict:
    """A dictionary, as the pairs that were set, in order."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[Any, Any]] | None = None) -> None:
        self.pairs = pairs if pairs is not None else []

    def get(self, key: str) -> Any:
        """The last value set under a string key."""
        return next((value for name, value in reversed(self.pairs) if name == key), None)


class Set(list[Any]):
    """A set, as the items that were added."""

    __slots__ = ()


class Persistent:
    """An object that lies outside of the pickle and is fetched by an id.

    Attributes:
        id: The id.
        offset: Byte at which it is fetched.
        found: What the id stands for, where somebody has worked that out.
    """

    __slots__ = ("found", "id", "offset")

    def __init__(self, id: Any, offset: int) -> None:
        self.id = id
        self.offset = offset
        self.found: Any = None


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes or text too long to keep; they do nothing by themselves."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that cannot be told, such as an entry of the extension registry."""

    what: str
    about: Any = field(default=None, compare=False)
