"""What functions are called with and return comes back as it was: by annotations, as JSON."""

from __future__ import annotations

import enum
import json
import math
import subprocess
import sys
import threading
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cached_property, partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
    Unpack,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State
from asyncjobs.arguments import Callee
from asyncjobs.errors import HandlerFailed, JobUnreadable, SetupError, Unstorable
from asyncjobs.forms import Unlike, from_data, is_plain, to_data
from asyncjobs.job import Request
from asyncjobs.shapes import same
from asyncjobs.stores import MemoryStore

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]

DEADLINE = 20
AN_ID = UUID(int=5)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = (255, 0, 0)
    BLUE = (0, 0, 255)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.StrEnum):
    GOOD = "good"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Owner:
    id: UUID
    since: date = date(2020, 1, 1)


@dataclass(frozen=True, slots=True)
class Todo:
    id: UUID
    owner: Owner
    tags: list[str] = field(default_factory=list)
    price: float = 0.0


@dataclass(eq=False)
class Unequal:
    id: UUID
    when: datetime


@dataclass
class Sub(Owner):
    more: int = 0


@dataclass
class Box(Generic[T]):
    content: T
    others: list[T] = field(default_factory=list)


@dataclass
class Counted:
    """What it makes of itself is no field, and no argument."""

    items: list[UUID]
    made: int = field(init=False, default=7)

    def __post_init__(self) -> None:
        self.count = len(self.items)

    @cached_property
    def lock(self) -> Any:
        return threading.Lock()


class Struct(msgspec.Struct):
    id: UUID
    owner: Owner | None = None
    rest: str | msgspec.UnsetType = msgspec.UNSET


class Renamed(msgspec.Struct, frozen=True, eq=False, omit_defaults=True, rename="camel"):
    the_id: UUID
    is_done: bool = False


@attrs.define
class Attrs:
    id: UUID
    owner: Owner | None = None


@attrs.frozen(eq=False)
class FrozenAttrs:
    id: UUID


class Model(pydantic.BaseModel):
    id: UUID
    mood: Mood = Mood.GOOD
    at: datetime | None = None
    inner: list[Model] = []


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", use_enum_values=True)

    the_id: UUID = pydantic.Field(alias="theId")
    mood: Mood = Mood.GOOD
    url: pydantic.HttpUrl | None = None
    hidden: int = pydantic.Field(default=0, exclude=True)
    _count: int = pydantic.PrivateAttr(default=3)


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


@pydantic.dataclasses.dataclass
class PydanticDataclass:
    id: UUID
    many: Annotated[int, pydantic.Field(gt=0)] = 1


class Rows(list[Any]):
    """A container that says itself how it is made, but not what is in it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        schema = pydantic_core.core_schema
        return schema.no_info_after_validator_function(cls, schema.list_schema())


class Typed(TypedDict):
    id: UUID
    when: NotRequired[date]


class Named(NamedTuple):
    id: UUID
    n: int = 0


Bare = namedtuple("Bare", ["a", "b"])  # noqa: PYI024 - one without annotations
UserId = NewType("UserId", UUID)


def come_back(value: Any, hint: Any) -> Any:
    """What is read of `value`, once it has been text."""
    data, form = json.loads(json.dumps(to_data(value, hint), allow_nan=False))
    return from_data(data, form, hint)


# Zones far west of the first day there is, or far east of the last one, are no times at all.
MOMENTS = st.datetimes(
    datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.none() | st.just(UTC) | st.timezones()
)
OFFSETS = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
OWNERS = st.builds(Owner, st.uuids(), st.dates())
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text(st.characters(exclude_categories=()))),
    (float, st.floats(allow_nan=False, allow_infinity=False) | st.integers()),
    (bytes, st.binary()),
    (UUID, st.uuids()),
    (Decimal, st.decimals()),
    (datetime, MOMENTS),
    (datetime, st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=OFFSETS)),
    (date, st.dates()),
    (time, st.times(timezones=st.none() | st.just(UTC) | st.timezones())),
    (timedelta, st.timedeltas()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Mood, st.sampled_from(Mood)),
    (Rights, st.sampled_from([Rights.READ, Rights.READ | Rights.WRITE, Rights(0)])),
    (list[UUID], st.lists(st.uuids() | st.text())),
    (Sequence[UUID], st.lists(st.uuids())),
    (tuple[UUID, ...], st.lists(st.uuids()).map(tuple)),
    (tuple[UUID, int], st.tuples(st.uuids(), st.integers())),
    (tuple, st.tuples(st.text(), st.integers())),
    (set[UUID], st.sets(st.uuids())),
    (frozenset[date], st.frozensets(st.dates())),
    (dict[str, date], st.dictionaries(st.text(), st.dates())),
    (dict[UUID, date], st.dictionaries(st.uuids(), st.dates())),
    (dict[int, str], st.dictionaries(st.integers(), st.text())),
    (dict[tuple[int, int], bool], st.dictionaries(st.tuples(st.integers(), st.integers()),
                                                  st.booleans())),
    (Mapping[date, bytes], st.dictionaries(st.dates(), st.binary())),
    (deque[UUID], st.builds(deque, st.lists(st.uuids() | st.text()), st.none() | st.just(9))),
    (deque[float], st.builds(deque, st.lists(st.integers() | st.booleans() | st.floats(0, 1)))),
    (deque, st.builds(deque, st.lists(st.text()))),
    (OrderedDict[str, float], st.builds(OrderedDict, st.dictionaries(st.text(), st.integers()))),
    (OrderedDict[UUID, datetime], st.builds(OrderedDict, st.dictionaries(st.uuids(), MOMENTS))),
    (Counter[date], st.builds(Counter, st.dictionaries(st.dates(), st.integers()))),
    (Counter, st.builds(Counter, st.text())),
    (defaultdict[str, list[UUID]], st.builds(defaultdict, st.sampled_from([list, None]),
                                             st.dictionaries(st.text(), st.lists(st.uuids())))),
    (Optional[UUID], st.none() | st.uuids()),  # noqa: UP045 - it is another type than `|` makes
    (UUID | str | date, st.uuids() | st.text() | st.dates()),
    (Union[Owner, Struct, None], OWNERS | st.builds(Struct, st.uuids())),  # noqa: UP007
    (list[Owner | Attrs], st.lists(OWNERS | st.builds(Attrs, st.uuids(), OWNERS))),
    (list[UUID] | dict[str, UUID], st.lists(st.uuids()) | st.dictionaries(st.text(), st.uuids())),
    (Annotated[UUID, "said of it"], st.uuids()),
    (Annotated[int, msgspec.Meta(gt=0)], st.integers()),
    (UserId, st.uuids()),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Typed, st.fixed_dictionaries({"id": st.uuids() | st.text()}, optional={"when": st.dates()})),
    (Named, st.builds(Named, st.uuids() | st.text(), st.integers())),
    (Owner, OWNERS),
    (Todo, st.builds(Todo, st.uuids(), OWNERS, st.lists(st.text()), st.integers())),
    (Unequal, st.builds(Unequal, st.uuids(), MOMENTS)),
    (Box[UUID], st.builds(Box, st.uuids() | st.text(), st.lists(st.uuids()))),
    (Counted, st.builds(Counted, st.lists(st.uuids()))),
    (Struct, st.builds(Struct, st.uuids(), st.none() | OWNERS)),
    (Renamed, st.builds(Renamed, st.uuids(), st.booleans())),
    (Attrs, st.builds(Attrs, st.uuids() | st.text(), st.none() | OWNERS)),
    (FrozenAttrs, st.builds(FrozenAttrs, st.uuids())),
    (Model, st.builds(Model, id=st.uuids(), at=st.none() | MOMENTS)),
    (Model, st.builds(Model.model_construct, id=st.uuids() | st.text(), mood=st.just("good"))),
    (list[Model], st.lists(st.builds(Model, id=st.uuids()))),
    (Aliased, st.builds(Aliased, theId=st.uuids(), url=st.just("https://example.org/"),
                        more=st.integers(), hidden=st.integers())),
    (PydanticDataclass, st.builds(PydanticDataclass, st.uuids(), st.integers(min_value=1))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("hint", "values"), TYPES, ids=[str(getattr(hint, "__name__", hint)) for hint, _ in TYPES]
)
@given(st.data())
def test_a_value_of_its_annotations_type(
    hint: Any, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """What is annotated comes back equal and of the same types, all the way down: also where
    another value stands in a field than its own annotation says."""
    value = data.draw(values)
    assert same(come_back(value, hint), value)


@given(PLAIN, st.sampled_from([Any, object, UUID, float, Owner, Model, list[date]]))
def test_plain_json_needs_no_annotation(value: Any, hint: Any) -> None:
    """Plain JSON is stored as it is, and comes back as it is, whatever its annotation says."""
    assert to_data(value, hint) == (value, None)
    assert same(come_back(value, hint), value)


@given(st.one_of(*[values for _, values in TYPES]))
def test_what_is_no_plain_json_needs_one(value: Any) -> None:
    """Without an annotation plain JSON is taken, and nothing else."""
    if is_plain(value):
        assert same(come_back(value, Any), value)
    else:
        with pytest.raises(Unlike):
            to_data(value, Any)


@given(st.one_of(*[values for _, values in TYPES]), st.sampled_from([hint for hint, _ in TYPES]))
def test_any_value_with_any_annotation(value: Any, hint: Any) -> None:
    """Whatever is given with whatever annotation: it comes back the same, or is refused."""
    try:
        data, form = to_data(value, hint)
    except Unlike:
        return
    assert same(from_data(json.loads(json.dumps(data)), form, hint), value)


@pytest.mark.parametrize(
    "value",
    [
        Todo("5", Owner("6", "today")),  # type: ignore[arg-type]
        Struct("5", Owner("6")),  # type: ignore[arg-type]
        Attrs("5", Owner("6")),  # type: ignore[arg-type]
        Model.model_construct(id="5", at="today", inner=[Model.model_construct(id="6")]),
        Aliased(theId=AN_ID, mood=Mood.GOOD),
        PydanticDataclass.__new__(PydanticDataclass),
        Todo(AN_ID, Owner(str(AN_ID)), price=3),  # type: ignore[arg-type]
        Struct(str(AN_ID)),  # type: ignore[arg-type]
        Attrs(str(AN_ID)),  # type: ignore[arg-type]
        Model.model_construct(id=str(AN_ID)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("place", [lambda value: value, lambda value: [value, value]])
def test_text_in_a_field_that_is_annotated_otherwise(value: Any, place: Any) -> None:
    """Text that another library put into a field annotated UUID, a member's value in the place of
    the member, an int in the place of a float: they are what they were, nested ones as well."""
    hint = list[type(value)] if isinstance(place(value), list) else type(value)  # type: ignore[misc]
    assert same(come_back(place(value), hint), place(value))


def test_which_fields_of_a_model_were_set() -> None:
    """A pydantic model still knows which of its fields were given, what else was, and what is
    private to it."""
    given = Aliased(theId=AN_ID, more=1)
    given._count = 8
    back = come_back(given, Aliased)
    assert back == given
    assert back.model_fields_set == {"the_id", "more"}
    assert (back.model_extra, back._count) == ({"more": 1}, 8)
    patch = come_back([Model(id=AN_ID)] * 3, list[Model])
    assert patch[1].model_dump(exclude_unset=True) == {"id": AN_ID}


def test_a_field_that_is_made_anew_is_not() -> None:
    """A default that is another one each time is the one that was there, and nobody validates
    again what was made without validation."""

    @dataclass
    class Numbered:
        id: UUID
        number: int = field(default_factory=iter(range(100)).__next__)

        def __post_init__(self) -> None:
            self.twice = self.number + next(calls)

    calls = iter(range(100))
    given = Numbered(AN_ID)
    back = come_back(given, Numbered)
    assert (back.number, back.twice) == (0, 0)


class Asked:
    """Counts what is asked of the values that have been made, and lets none pass a second time."""

    times = 0


def ask(*_: Any) -> None:
    Asked.times += 1
    if Asked.times > 1:
        raise ValueError("it is later now")


def asked(value: T) -> T:
    ask()
    return value


@dataclass
class AsksItself:
    id: UUID
    made: Decimal = field(init=False)

    def __post_init__(self) -> None:
        ask()
        self.made = Decimal(Asked.times)
        self.tags = ["made"]


class AskingStruct(msgspec.Struct, frozen=True, kw_only=True, tag=True, rename="camel"):
    the_id: UUID
    rest: str | msgspec.UnsetType = "rest"

    def __post_init__(self) -> None:
        ask()


class AskingDictStruct(msgspec.Struct, dict=True):
    the_id: UUID

    def __post_init__(self) -> None:
        ask()
        self.more = 5


@attrs.frozen(cache_hash=True)
class AskingAttrs:
    id: UUID = attrs.field(converter=asked)


@attrs.define
class ValidatingAttrs:
    id: UUID = attrs.field(validator=ask)


@pydantic.dataclasses.dataclass
class AskingPydanticDataclass:
    id: Annotated[UUID, pydantic.AfterValidator(asked)]


class AskingModel(pydantic.BaseModel):
    id: UUID
    _seen: set[UUID] = pydantic.PrivateAttr(default_factory=set)

    @pydantic.field_validator("id")
    @classmethod
    def is_there(cls, value: UUID) -> UUID:
        return asked(value)


class LateModel(pydantic.BaseModel):
    id: UUID
    made: Decimal | None = None

    def model_post_init(self, context: Any) -> None:
        ask()
        self.made = Decimal(Asked.times)


class WholeModel(pydantic.RootModel[list[UUID]]):
    @pydantic.model_validator(mode="after")
    def is_there(self) -> WholeModel:
        return asked(self)


ASKING: list[tuple[Callable[[], Any], Any]] = [
    (lambda: AsksItself(AN_ID), AsksItself),
    (lambda: AskingStruct(the_id=AN_ID, rest=msgspec.UNSET), AskingStruct),
    (lambda: AskingDictStruct(AN_ID), AskingDictStruct),
    (lambda: AskingAttrs(AN_ID), AskingAttrs),
    (lambda: ValidatingAttrs(AN_ID), ValidatingAttrs),
    (lambda: AskingPydanticDataclass(AN_ID), AskingPydanticDataclass),
    (lambda: AskingModel(id=AN_ID), AskingModel),
    (lambda: LateModel(id=AN_ID), LateModel),
    (lambda: WholeModel([AN_ID]), WholeModel),
    (lambda: [AskingModel(id=AN_ID)], list[AskingModel] | AsksItself),
    (lambda: {"a": {AN_ID: AsksItself(AN_ID)}}, dict[str, dict[UUID, AsksItself | None]]),
    (lambda: asked(AN_ID), Annotated[UUID, pydantic.AfterValidator(asked)]),
    (lambda: asked({AN_ID}), set[Annotated[UUID, pydantic.AfterValidator(asked)]]),
]


@pytest.mark.parametrize(("make", "hint"), ASKING, ids=map(str, range(len(ASKING))))
def test_nothing_is_validated_a_second_time(make: Callable[[], Any], hint: Any) -> None:
    """What was validated, converted or counted once is not again, neither when it is stored nor
    when it is read: a validator may look at a clock or a database."""
    Asked.times = 0
    value = make()
    assert Asked.times == 1
    back = come_back(value, hint)
    assert Asked.times == 1
    assert same(back, value)
    assert back == value


def test_the_hash_of_what_has_come_back() -> None:
    """An object of attrs that remembers its hash has one again, which is that of this process."""
    Asked.times = 0
    value = AskingAttrs(AN_ID)
    assert hash(value) == hash(come_back(value, AskingAttrs))
    data, _ = to_data(value, AskingAttrs)
    assert str(hash(value)) not in json.dumps(data)


class Timed(pydantic.BaseModel):
    """What a clock says of these was true only once."""

    future: pydantic.FutureDatetime
    past: pydantic.PastDate
    aware: list[pydantic.AwareDatetime] = []
    path: pydantic.FilePath | None = None


def test_what_was_true_of_a_time_or_a_file_when_it_came(tmp_path: Path) -> None:
    """A time that was in the future comes back after it, and a file's path without the file."""
    file = tmp_path / "file"
    file.touch()
    there = Timed(future=datetime(9999, 1, 1), past=date(2020, 1, 1), path=file)
    file.unlink()
    then = datetime(2020, 1, 1, tzinfo=UTC)
    gone = Timed.model_construct(future=then, past=date(9999, 1, 1), aware=[then])
    for value in (there, gone):
        assert same(come_back(value, Timed), value)
    assert same(come_back(then, pydantic.FutureDatetime), then)
    assert same(come_back([date(9999, 1, 1)], list[pydantic.PastDate]), [date(9999, 1, 1)])


def test_the_zone_of_a_time() -> None:
    """A time keeps its zone, not only what that was ahead on the day, and which of two equal hours
    it was."""
    given = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    back = come_back(given, datetime)
    assert (back, back.fold) == (given, 1)
    assert (back + timedelta(days=180)).utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Sub(AN_ID, more=1), Owner),
        ([Sub(AN_ID)], list[Owner]),
        (Box(Sub(AN_ID)), Box[Owner]),
        (Level.LOW, int),
        (Mood.GOOD, str),
        (datetime(2020, 1, 1), date),
        ((1, 2), list[int]),
        ((1, 2), Sequence[int]),
        (Bare(1, 2), tuple[int, int]),
        (AN_ID, str),
        (Secret(password=pydantic.SecretStr("hush")), Secret),
        (Counted([AN_ID]).lock, Any),
        (object(), object),
        (SimpleNamespace(a=1), SimpleNamespace),
        (math.nan, float),
        (Rows([1]), Rows),
        (deque([Sub(AN_ID)]), deque[Owner]),
        (deque([1]), Sequence[int]),
        (OrderedDict(a=1), dict[str, int]),
        (Counter("a"), dict[str, int]),
        (defaultdict(int), dict[str, int]),
        (defaultdict(lambda: 5), defaultdict[str, int]),
        (Unequal(math.inf, datetime(2020, 1, 1)), Unequal),  # type: ignore[arg-type]
    ],
)
def test_what_would_come_back_as_something_else(value: Any, hint: Any) -> None:
    """What would not come back as it is, such as a subclass where its base is annotated, is
    refused."""
    with pytest.raises(Unlike):
        to_data(value, hint)


def test_equality_is_strict() -> None:
    """What Python calls equal is not the same yet: True and 1, 1.0 and 1, 0.0 and -0.0."""
    assert same({"a": [1, 2.5, None]}, {"a": [1, 2.5, None]})
    for one, other in [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (Decimal(1), Decimal("1.0")),
        ({1}, {True}),
        (deque([1]), deque([True])),
        (deque([1]), deque([1], maxlen=3)),
        (OrderedDict(a=1), OrderedDict(a=1.0)),
        (Counter(a=1), Counter(a=True)),
        (defaultdict(int, a=1), defaultdict(int, a=1.0)),
        (defaultdict(int), defaultdict(float)),
        (complex(0.0, 1), complex(-0.0, 1)),
        (Rows([1]), Rows([1.0])),
        (ChainMap({"a": 1}), ChainMap({"a": 1.0})),
    ]:
        assert one == other
        assert not same(one, other)
    assert not same(Unequal(AN_ID, datetime(2020, 1, 1)), Unequal(AN_ID, datetime(2020, 1, 2)))


def test_a_value_in_a_circle() -> None:
    """What contains itself is refused, and not gone through for ever."""
    circle = Node()
    circle.next = circle
    model = Model(id=AN_ID)
    model.inner.append(model)
    for value in (circle, [circle], model):
        with pytest.raises(Unstorable, match="cannot be stored: a is nested too deep, or contains"):
            Callee(takes_a_node, "f").stored([value], {})
    turn: list[Any] = []
    turn.append(turn)
    with pytest.raises(Unstorable, match="nested too deep"):
        Callee(takes_a_node, "f").stored([turn], {})


@dataclass
class Node:
    next: Node | None = None


def takes_a_node(a: Node | list[Node] | Model) -> None: ...


# Which annotation is an argument's.


class Options(TypedDict, total=False):
    more: date


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Callable_:  # noqa: N801
    def __call__(self, day: date, /, *days: date, **more: date) -> date:
        return day

    def method(self, day: date, *days: date, **more: date) -> date:
        return day

    def sync_stream(self) -> Any:
        yield 5

    async def stream(self) -> Any:
        yield 5


def options(day: date, *days: date, **more: Unpack[Options]) -> date:
    return day


def partly_known(day: date, *days: date, nothing: Nothing = None, **more: date) -> date:
    return day


CALLED: dict[str, Callable[..., Any]] = {
    "function": Callable_.method.__get__(Callable_()),
    "object": Callable_(),
    "wrapped": decorated(decorated(options)),
    "partial": partial(partial(Callable_.method), None),
    "unpacked": options,
    "partly": partly_known,
}


@pytest.mark.parametrize("called", CALLED.values(), ids=CALLED)
def test_whose_annotations_count(called: Callable[..., Any]) -> None:
    """The annotations are those of what is called: through decorators and partials, of `*args` and
    `**kwargs`, written as text, and beside one that only the type checker can resolve."""
    day = date(2026, 1, 2)
    callee = Callee(called, "f")
    assert callee.given(callee.stored([day, day, day], {"more": day})) == ([day] * 3, {"more": day})
    assert callee.result_from_data(*callee.result_to_data(day)) == day
    with pytest.raises(Unstorable, match="'nothing'"):  # it has none, or that of `**more`
        callee.stored([], {"nothing": AN_ID})


def test_names_of_arguments_that_are_passed_by_position() -> None:
    """An argument that is passed by position is called what its parameter is, in the error that
    says where it is, why it is refused, and what to do."""
    callee = Callee(options, "shop.order")
    with pytest.raises(Unstorable) as caught:
        callee.stored([[{"a": AN_ID}]], {})
    assert str(caught.value) == (
        "the argument 'day' of 'shop.order' cannot be stored: day is a list, and what would be "
        "made of it again as date, its annotation, is not equal to it. Annotate the parameter with "
        "its type, or pass what JSON has a form for, such as an id"
    )
    with pytest.raises(
        Unstorable, match=r"cannot be stored: todos\[1\]\.owner\.since is a object,"
    ):
        Callee(takes_todos, "f").stored(
            [], {"todos": [Todo(AN_ID, Owner(AN_ID)), Todo(AN_ID, Owner(AN_ID, object()))]}
        )
    assert isinstance(caught.value, (SetupError, TypeError, ValueError))


def takes_todos(todos: list[Todo]) -> None: ...


# Functions, from `submit` to `result`.


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{path}"


def registered(store: str, seen: list[Any]) -> Jobs:
    """The same program each time, as two processes have it."""
    jobs = Jobs(store=store, name="program")

    @jobs.function(name="async")
    async def work(
        todo: Todo, *more: UUID, model: Model | None = None
    ) -> tuple[Todo, Model | None]:
        seen.append((todo, more, model))
        return todo, model

    @jobs.function(name="sync")
    def work_sync(todo: Todo, *more: UUID, model: Model | None = None) -> list[Todo]:
        seen.append((todo, more, model))
        return [todo, todo]

    return jobs


async def test_a_function_gets_what_it_was_submitted_with(store: str) -> None:
    """Arguments come to a function, and its result to who asks for it, as what they were."""
    seen: list[Any] = []
    todo, model = Todo(AN_ID, Owner("6")), Model(id=AN_ID)  # type: ignore[arg-type]
    async with registered(store, seen) as jobs:
        job = await jobs.submit("async", todo, AN_ID, model=model)
        result = await jobs.result(job.id, DEADLINE)
        assert same(result, (todo, model))
        job = await jobs.submit("sync", todo, AN_ID, model=model)
        assert same(await jobs.result(job.id, DEADLINE), [todo, todo])
    for arguments in seen:
        assert same(arguments, (todo, (AN_ID,), model))
        assert arguments[0] is not todo


async def test_another_process_runs_it(path: Path) -> None:
    """What one process has stored, another one calls the function with, once it has the store."""
    todo, seen = Todo(AN_ID, Owner(AN_ID)), []
    jobs = registered(f"sqlite:///{path}", seen)
    await jobs.open()  # and does not begin to run any
    job = await jobs.submit("async", todo, AN_ID)
    await jobs.__aexit__()
    assert seen == []
    async with registered(f"sqlite:///{path}", seen) as jobs:
        assert same(await jobs.result(job.id, DEADLINE), (todo, None))
    assert same(seen, [(todo, (AN_ID,), None)])


async def test_a_body_that_an_older_version_has_stored(store: str) -> None:
    """A call that an older version has stored is run with the plain JSON that it has stored,
    whatever the annotations say; and plain JSON is stored as it did."""
    jobs = Jobs(store=store)
    seen: list[Any] = []
    jobs.function(name="f")(lambda day, at: seen.append((day, at)))

    @jobs.function(name="typed")
    async def typed(day: date, at: Todo) -> list[Any]:
        return [day, at]

    async with jobs:
        old = Request(
            "POST", "/typed", body=b'{"args": ["2020-01-01"], "kwargs": {"at": {"id": 1}}}'
        )
        job, _ = await jobs.accept("typed", old)
        assert await jobs.result(job.id, DEADLINE) == ["2020-01-01", {"id": 1}]
        job = await jobs.submit("typed", "2020-01-01", at={"id": 1})
        assert (await jobs._opened.store.request(job.id)).body == old.body


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b'{"args": []}', b'{"args": 1, "kwargs": {}}',
        b'{"args": [], "kwargs": {"todo": 1}, "forms": {"args": {}, "kwargs": {"todo": "typed"}}}',
        b'{"args": [], "kwargs": {"todo": 1}, "forms": {"args": {}, "kwargs": {"todo": "no"}}}',
        b'{"args": [{}], "kwargs": {}, "forms": {"args": {"0": {"arm": 1}}, "kwargs": {}}}',
        b'{"args": [{"id": 1}], "kwargs": {}, "forms": {"args": {"0": {"parts": 5}}}}',
        b'{"args": [{"id": 1}], "kwargs": {}, "forms": 5}',
    ],
)  # fmt: skip
async def test_a_damaged_call(body: bytes) -> None:
    """A call that cannot be read any more, or not as what the annotations say now, fails its job
    with a word that says so."""
    seen: list[Any] = []
    async with registered("memory:", seen) as jobs:
        job, _ = await jobs.accept("async", Request("POST", "/async", body=body))
        with pytest.raises(JobUnreadable, match="'async' was to be called with cannot be read"):
            await jobs.result(job.id, DEADLINE)
    assert seen == []


async def test_a_result_whose_annotation_has_changed() -> None:
    """A result that cannot be made again is an error that says so, and where the data are; where
    the function is not registered, it is plain JSON data."""
    store = MemoryStore()

    def one() -> Owner:
        return Owner(AN_ID)

    def two() -> list[int]:
        return []

    def program(**functions: Callable[..., Any]) -> Jobs:
        jobs = Jobs(store=store, name="program")
        for name, function in functions.items():
            jobs.function(name=name)(function)
        return jobs

    async with program(f=one) as jobs:
        job = await jobs.submit("f")
        assert await jobs.result(job.id, DEADLINE) == Owner(AN_ID)
        jobs._functions._callees["f"] = Callee(two, "f")
        with pytest.raises(JobUnreadable, match=r"'f' has returned cannot be read as list\[int\]"):
            await jobs.result(job.id)
        del jobs._functions._callees["f"]
        assert await jobs.result(job.id) == {"id": str(AN_ID), "since": "2020-01-01"}


async def test_a_result_that_json_can_hold_after_all(store: str) -> None:
    """The work is done: a tuple that nobody has announced is a list, as JSON has it."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: {1: (2, 3)})
    jobs.function(name="no")(lambda: {"a": [Owner(AN_ID)]})
    async with jobs:
        job = await jobs.submit("f")
        assert await jobs.result(job.id, DEADLINE) == {"1": [2, 3]}
        job = await jobs.submit("no")
        with pytest.raises(
            HandlerFailed,
            match=r"result is not JSON: .*: the result\['a'\]\[0\] is no JSON but a Owner",
        ):
            await jobs.result(job.id, DEADLINE)
        assert (await jobs.get(job.id)).state is State.FAILED


async def test_a_function_may_have_an_argument_called_key() -> None:
    """What a program itself submits it has chosen to store, whatever it is called."""
    jobs = Jobs(store="memory:")
    jobs.function(name="f")(lambda key, token: [key, token])
    async with jobs:
        job = await jobs.submit("f", "a", token="b")
        assert await jobs.result(job.id, DEADLINE) == ["a", "b"]


def test_pydantic_is_not_imported() -> None:
    """A program that has nothing to do with pydantic does not get to load it."""
    program = (
        "import sys, dataclasses, uuid; from asyncjobs.arguments import Callee\n"
        "def f(a: uuid.UUID, b: list[tuple[int, ...]]) -> None: ...\n"
        "c = Callee(f, 'f'); s = c.stored([uuid.UUID(int=5), [(1,)]], {})\n"
        "assert c.given(s)[0] == [uuid.UUID(int=5), [(1,)]]\n"
        "assert not {'pydantic', 'attr', 'attrs'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# Classes as functions.


@dataclass
class Stretched:
    owner: Owner
    until: date = field(init=False)
    extra: InitVar[timedelta] = timedelta(0)

    def __post_init__(self, extra: timedelta) -> None:
        self.until = self.owner.since + extra


class Plain:
    def __init__(self, day: date) -> None:
        self.day = day


class SlotsOf(NamedTuple):
    day: date


@pytest.mark.parametrize(
    ("made", "kwargs"),
    [
        (Stretched, {"owner": Owner(AN_ID), "extra": timedelta(1)}),
        (Struct, {"id": AN_ID, "owner": Owner(AN_ID)}),
        (Attrs, {"id": AN_ID, "owner": Owner(AN_ID)}),
        (Model, {"id": AN_ID, "at": datetime(2020, 1, 1)}),
        (PydanticDataclass, {"id": AN_ID}),
        (SlotsOf, {"day": date(2020, 1, 1)}),
        (dict, {"a": 1}),
        (date, {"year": 2020, "month": 1, "day": 1}),
    ],
)
async def test_a_class_as_a_function(made: Any, kwargs: Any) -> None:
    """A class is a function whose parameters are typed as its fields are, and whose result is an
    instance of it."""
    jobs = Jobs(store="memory:")
    jobs.function(made)
    jobs.function(name="partial")(partial(made, **kwargs))
    async with jobs:
        job = await jobs.submit(made, **kwargs)
        assert same(await jobs.result(job.id, DEADLINE), made(**kwargs))
        job = await jobs.submit("partial")
        assert same(await jobs.result(job.id, DEADLINE), made(**kwargs))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (Plain, "makes a Plain, which cannot be stored"),
        (partial(Plain, 1), "makes a Plain, which cannot be stored"),
        (contextmanager(lambda: (yield)), "is a context manager"),
        (asynccontextmanager(Callable_.stream), "is a context manager"),
        (partial(contextmanager(Callable_.sync_stream), 1), "is a context manager"),
    ],
)
def test_functions_that_never_have_a_result(function: Any, why: str) -> None:
    """A class whose instances cannot be stored is refused when it is registered, and so is a
    function that gives a context manager: no job of theirs could end well."""
    for jobs in (Jobs(store="memory:"), QuartJobs(Quart(__name__), store="memory:")):
        with pytest.raises(SetupError, match=why):
            jobs.function(name="Plain")(function)


async def test_a_decorator_that_collects_what_is_yielded() -> None:
    """What only wraps a generator may return a list of what it yields."""

    def collected(function: Callable[[], Any]) -> Callable[[], Any]:
        return wraps(function)(lambda: list(function()))

    jobs = Jobs(store="memory:")

    @jobs.function(name="f")
    @collected
    def f() -> Any:
        yield 5

    async with jobs:
        assert await jobs.result((await jobs.submit("f")).id, DEADLINE) == [5]


async def test_the_result_of_a_function_is_the_json_of_its_model(store: str) -> None:
    """Who reads it as JSON finds the fields of the model and nothing of its library's."""
    jobs = Jobs(store=store)

    class Found(pydantic.BaseModel):
        number: int
        name: str = "nobody"

    def find() -> Found:
        return Found(number=7)

    find.__annotations__["return"] = Found
    jobs.function(name="find")(find)
    async with jobs:
        job = await jobs.submit("find")
        found = await jobs.result(job.id, DEADLINE)
        assert (found, found.model_fields_set) == (Found(number=7), {"number"})
        _, response = await jobs.poll(job.id)
        assert response is not None
        assert json.loads(response.body) == {"number": 7, "name": "nobody"}
