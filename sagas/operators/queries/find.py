"""Search of sagas for a project's own code: one by definition and business key, or all that match.

Reads only, and always in the engine's database.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, F, Func, QuerySet, Subquery

from ...choreography.definition import ChoreographyDefinition, list_known
from ...conf import get_settings
from ...core.definition.saga import SagaDefinition
from ...core.json_values import require_text
from ...engine.store.business_keys import check_keys
from ...exceptions import BadRequest, DefinitionNotFound, InputRefused
from ...models import Saga, SagaKey
from ..presentation import DisplayState
from .saga_conditions import ANY_REASON
from .saga_filter import SagaFilter, parse_criterion

AnyDefinition = type[SagaDefinition] | type[ChoreographyDefinition] | str
Key = str | Mapping[str, str]


class _AnyOf(Func):
    """Condition that the id of a saga is one of those that a subquery returns.

    The array is read first, by its index; with IN, PostgreSQL may instead scan all sagas, newest first.
    """

    template = "%(expressions)s"
    arg_joiner = " = ANY "
    output_field = BooleanField()

    def __init__(self, keys: QuerySet[SagaKey]) -> None:
        super().__init__(F("pk"), Subquery(keys.values("saga_id"), template="(ARRAY(%(subquery)s))"))


def find(definition: AnyDefinition | None = None, /, key: Key | None = None, **keys: str) -> Saga | None:
    """Return the newest saga with these business keys, or None when there is none.

    ``find(TripSaga, trip="7")`` names the key; several keys must all match. ``key={"trip": "7"}`` is the same for names
    that are not Python identifiers or only known at run time; ``key="7"`` finds the value under any name.
    ``definition`` is a class or a stored name and includes every version. Without it any definition matches.
    Returns: of several sagas the one that was started last; ``query`` finds all of them.
    Raises: InputRefused without a key, or for an invalid one; DefinitionNotFound for an unknown name.
    Statements: one, on the index of business keys.
    """
    wanted = _read_keys(key, keys)
    if not wanted:
        raise InputRefused("Name a business key to find a saga by, such as find(TripSaga, trip='7').")
    return _select(definition, wanted).first()


def query(
    definition: AnyDefinition | None = None,
    /,
    *,
    key: Key | None = None,
    is_open: bool | None = None,
    needs_attention: bool = False,
    display_state: DisplayState | str | None = None,
    started_since: datetime | None = None,
) -> QuerySet[Saga]:
    """Return the sagas that match all given criteria, newest first; an omitted criterion does not filter.

    ``needs_attention``: open ones that are held or have a reason for attention. ``display_state``: as the console
    shows it, such as ``"waiting_for_answer"``. ``started_since`` needs a time zone.
    Returns: a QuerySet to slice, count and filter by the public fields of Saga; never to write with. Deferred: the
    input and the effects left behind.
    Raises: InputRefused for an invalid key, display state or time; DefinitionNotFound for an unknown name.
    """
    rows = _select(definition, _read_keys(key, {})).defer("input", "effects_left")
    if is_open is not None:
        if not isinstance(is_open, bool):
            raise InputRefused(f"is_open is True, False or None, not {is_open!r}.")
        rows = rows.filter(closed_at__isnull=is_open)
    if started_since is not None and (not isinstance(started_since, datetime) or started_since.tzinfo is None):
        raise InputRefused(
            f"started_since needs a time zone, as django.utils.timezone.now() has; it is {started_since!r}."
        )
    wanted = SagaFilter(
        display="" if display_state is None else _read_display(display_state),
        needs=ANY_REASON if needs_attention else "",
        since=started_since,
    )
    return wanted.narrow(rows)


def _select(definition: AnyDefinition | None, keys: Iterable[dict[str, str]]) -> QuerySet[Saga]:
    using = get_settings().database
    rows = Saga.objects.using(using).order_by("-created_at", "-id")
    if definition is not None:
        rows = rows.filter(definition=_read_name(definition))
    for key in keys:
        rows = rows.filter(_AnyOf(SagaKey.objects.using(using).filter(**key)))
    return rows


def _read_name(definition: AnyDefinition) -> str:
    bases = (SagaDefinition, ChoreographyDefinition)
    if isinstance(definition, type) and issubclass(definition, bases) and definition not in bases:
        return definition.name
    if not isinstance(definition, str):
        raise DefinitionNotFound(f"{definition!r} is neither a saga definition nor the stored name of one.")
    try:
        require_text(definition, "The name of a definition")
    except InputRefused as error:
        raise DefinitionNotFound(str(error)) from None
    known = sorted({found.name for found in list_known()})
    # A definition that was removed from the code may still have sagas.
    is_known = definition in known or Saga.objects.using(get_settings().database).filter(definition=definition).exists()
    if not is_known:
        raise DefinitionNotFound(
            f"There is no saga definition {definition!r}; known definitions: {', '.join(known) or 'none'}."
        )
    return definition


def _read_keys(key: Any, named: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the fields that each business key must have, with secrets masked as in the stored keys."""
    if isinstance(key, str):
        [value] = check_keys({"key": key}).values()
        return [{"value": value}, *_read_keys(None, named)]
    if key is not None and not isinstance(key, Mapping):
        raise InputRefused(f"key is the text of a business key, or a dict of them by name, not {key!r}.")
    checked = check_keys({**(key or {}), **named})
    return [{"name": name, "value": value} for name, value in checked.items()]


def _read_display(state: DisplayState | str) -> str:
    try:
        return str(parse_criterion("display", state, called="display_state"))
    except BadRequest as error:
        raise InputRefused(str(error)) from None
