"""Django system checks of settings, databases, routing, queues, time-outs and definitions.

Settings of Celery are checked in ``celery_checks``, hooks and functions in ``function_checks``. Only the check of the
versions that open sagas need accesses a database, and only when databases are checked.

Source: django/django ``django/contrib/auth/checks.py``.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings as project
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as AnyDatabaseError
from django.db import connections, router
from django.utils.module_loading import import_string

from ..conf import SagaSettings, get_settings
from ..core.definition import registry
from ..core.definition.saga import SagaDefinition
from ..core.definition.steps import Step
from ..core.redaction import redactor
from ..engine.notify import wakeup_sending
from ..events import catalogue
from ..events.settings import get_event_settings
from ..participants.routing import participant_label
from ..participants.tables import PARTICIPANT_MODELS
from . import timings

TAG = "sagas"
ENGINE_MODELS = (
    "Saga", "SagaStep", "SagaAttempt", "SagaHistory", "SagaKey", "SagaAccess",
    "SagaWorker", "SagaStatistic", "SagaBulk",
    "SagaBulkItem",
)  # fmt: skip

EVENT_MODELS = PARTICIPANT_MODELS - {"sagabarrier"}

AppConfigs = Sequence[AppConfig] | None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Step of a definition and the app that owns its data."""

    definition: type[SagaDefinition]
    step: Step
    label: str

    def __str__(self) -> str:
        return f"Step {self.step.name} of saga {self.definition.name}@{self.definition.version}"


@register(TAG)
def check_settings(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report a ``SAGAS`` that cannot be read (E001), and values that cannot work (E002)."""
    given = getattr(project, "SAGAS", {})
    if not isinstance(given, Mapping):
        return [_error("E001", f"SAGAS is a {type(given).__name__}.", "Make it a dict of engine settings.")]
    try:
        settings = get_settings()
    except ImproperlyConfigured as error:
        return [_error("E001", str(error), "sagas.conf.SagaSettings lists every name and its type.")]
    return [
        _error("E002", problem.what, f"Change it in SAGAS: {problem.todo}")
        for problem in timings.find_wrong_values(settings)
    ]


@register(TAG)
def check_redaction(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report names and patterns of secrets that cannot be used (E015)."""
    settings = read_settings()
    if settings is None:
        return []
    mistakes = redactor.find_mistakes(
        keys=settings.redact_keys, patterns=settings.redact_patterns, exceptions=settings.redact_except
    )
    hint = "Change SAGAS['REDACT_KEYS'], SAGAS['REDACT_PATTERNS'] or SAGAS['REDACT_EXCEPT']."
    return [_error("E015", mistake, hint) for mistake in mistakes]


@register(TAG)
def check_alerts(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report hooks that are no functions or cannot send with these settings (E016), and unsigned webhooks (W006)."""
    settings = read_settings()
    if settings is None:
        return []
    found: list[CheckMessage] = []
    for path in settings.on_attention:
        hint = "Name the dotted path of a function of one sagas.alerts.Alert or EventAlert in SAGAS['ON_ATTENTION']."
        try:
            if not callable(import_string(path)):
                found.append(_error("E016", f"The alert hook {path!r} is not callable.", hint))
        except (ImportError, AttributeError, TypeError) as error:
            found.append(_error("E016", f"The alert hook {path!r} cannot be imported: {error}.", hint))
    posts = "sagas.alerts.send_webhook" in settings.on_attention
    if posts and not settings.alert_webhook_url.startswith(("http://", "https://")):
        hint = "Set it to the URL that receives alerts."
        found.append(_error("E016", "SAGAS['ALERT_WEBHOOK_URL'] is not an http:// or https:// URL.", hint))
    if posts and not settings.alert_webhook_secret:
        hint = "Set SAGAS['ALERT_WEBHOOK_SECRET'] to a long random text that the receiver knows, too."
        found.append(_warning("W006", "Webhooks are not signed: their receiver cannot tell who sent them.", hint))
    return found


@register(TAG)
def check_wakeup(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report a ``WAKEUP`` that names no function (E003)."""
    settings = read_settings()
    if settings is None:
        return []
    hint = "Set SAGAS['WAKEUP'] to 'celery', to 'none', or to the dotted path of a function of a saga's id and a queue."
    try:
        sender = wakeup_sending.find_sender(settings.wakeup)
    except ImportError as error:
        return [_error("E003", f"SAGAS['WAKEUP'] = {settings.wakeup!r} cannot be imported: {error}.", hint)]
    return [] if callable(sender) else [_error("E003", f"SAGAS['WAKEUP'] = {settings.wakeup!r} is not callable.", hint)]


@register(TAG)
def check_databases(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report wrong databases of the engine and of participants.

    E004: the engine's is not in DATABASES; E005: routers write its models elsewhere; E006: one is not PostgreSQL;
    E018: one has autocommit off. Routing of reads does not matter: the engine names its database in every query.
    """
    settings = read_settings()
    if settings is None:
        return []
    if settings.database not in connections.settings:
        hint = f"Set SAGAS['DATABASE'] to one of: {', '.join(connections.settings)}."
        return [_error("E004", f"SAGAS['DATABASE'] is {settings.database!r}, which is not in DATABASES.", hint)]
    return [*_check_engine_routing(settings), *_check_vendors(settings), *_check_autocommit(settings)]


@register(TAG)
def check_participants(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report steps whose participant is not an installed app (E007) or is not known (W001)."""
    found: list[CheckMessage] = []
    for place in _list_places():
        if not place.label:
            hint = "Give the step participant=, or move the definition into an installed app."
            found.append(_warning("W001", f"{place} names no participant and its definition is in no app.", hint))
        elif place.label not in apps.app_configs:
            hint = f"Use the label of an installed app: {', '.join(sorted(apps.app_configs))}."
            found.append(_error("E007", f"{place}: participant {place.label!r} is not an installed app.", hint))
    return found


@register(TAG)
def check_routing(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report participants in no single known database (E008), without barrier (E009) or with engine tables (E010).

    Participants of events are apps that send or handle one; they need the tables of events (E009), if events are on.
    E011: a step that is done with the start of its saga is not in the engine's database.
    """
    settings = read_settings()
    if settings is None or settings.database not in connections.settings:
        return []
    found: list[CheckMessage] = []
    of_steps, of_events = {place.label for place in _list_places()}, _list_event_participants()
    for label in sorted((of_steps | of_events) & set(apps.app_configs)):
        tables = {"sagabarrier"} if label in of_steps else set()
        found += _check_participant(label, settings, tables | (EVENT_MODELS if label in of_events else set()))
    for place in _list_places():
        aliases = _find_aliases(place.label) - {settings.database}
        if place.step.action is None and aliases:
            what = f"{place} is done together with the start of the saga, but {place.label!r} is in {_join(aliases)}."
            hint = "Give the step an action, or keep its participant in the engine's database."
            found.append(_error("E011", what, hint))
    return found


@register(TAG)
def check_names(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report versions of one definition in several apps (W002): most likely a name used twice."""
    homes: dict[str, set[str]] = {}
    for definition in registry.all_definitions():
        config = apps.get_containing_app_config(definition.__module__)
        homes.setdefault(definition.name, set()).add(config.label if config else definition.__module__)
    hint = "Give one of them another Meta.name; versions of one definition belong in one app."
    return [
        _warning("W002", f"Saga definition {name!r} has versions in several places: {_join(places)}.", hint)
        for name, places in homes.items()
        if len(places) > 1
    ]


@register(TAG)
def check_queues(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report queues that Celery would refuse to publish into (E012)."""
    settings = read_settings()
    # A project may derive its queues from definitions and settings, so these must be readable first.
    declared = timings.read_declared_queues() if settings is not None else None
    if settings is None or declared is None:
        return []
    needed = {settings.common_queue: [timings.name_of_common_queue(settings)]}
    for place in _list_places():
        if place.step.queue:
            needed.setdefault(place.step.queue, []).append(str(place))
    hint = "Declare it in Celery's task_queues, or set task_create_missing_queues=True."
    return [
        _error("E012", f"Celery does not know the queue {queue!r} of {places[0]}.", hint)
        for queue, places in sorted(needed.items())
        if queue not in declared
    ]


@register(TAG)
def check_timings(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report time-outs that conflict with each other: errors (E013) and doubtful ones (W003)."""
    settings = read_settings()
    if settings is None:
        return []
    problems = timings.find_disorder(settings)
    return [
        _error("E013", problem.what, problem.todo) if problem.is_error else _warning("W003", problem.what, problem.todo)
        for problem in problems
    ]


@register(TAG, Tags.database)
def check_versions(
    app_configs: AppConfigs = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report definitions of open sagas that the code has changed (E014) or lacks (W004); rule S10.

    Returns: nothing before the engine's tables exist; W005 if the database does not answer.
    """
    from .versions import Problem, find_unknown_versions

    settings = read_settings()
    if settings is None or settings.database not in (databases or ()):
        return []
    try:
        if not _has_tables(settings.database):
            return []
        unknown = find_unknown_versions()
    except AnyDatabaseError as error:
        what = f"The definitions of open sagas could not be read: {type(error).__name__}."
        return [_warning("W005", what, "Check the database with saga_doctor.")]
    hint = "saga_check_versions lists them; an old version stays until its sagas are closed."
    return [
        _error("E014", version.describe(), hint)
        if version.problem is Problem.CHANGED
        else _warning("W004", version.describe(), hint)
        for version in unknown
    ]


def read_settings() -> SagaSettings | None:
    """Return the settings, or None if check E001 reports them."""
    if not isinstance(getattr(project, "SAGAS", {}), Mapping):
        return None
    try:
        return get_settings()
    except ImproperlyConfigured:
        return None


def _list_places() -> Iterator[_Place]:
    for definition in registry.all_definitions():
        for step in definition.steps:
            yield _Place(definition=definition, step=step, label=participant_label(definition, step))


def _check_engine_routing(settings: SagaSettings) -> list[CheckMessage]:
    found = []
    for name in ENGINE_MODELS:
        model = apps.get_model("sagas", name)
        if (alias := router.db_for_write(model)) != settings.database:
            what = f"Routers send {name} to {alias!r}, but the engine's database is {settings.database!r}."
            found.append(_error("E005", what, "Make both the same: DATABASE_ROUTERS and SAGAS['DATABASE']."))
    return found


def _list_aliases(settings: SagaSettings) -> list[str]:
    """Return the aliases of the engine's and all participants' databases that DATABASES has."""
    aliases = {settings.database}
    for place in _list_places():
        aliases |= _find_aliases(place.label) & set(connections.settings)
    return sorted(aliases)


def _check_autocommit(settings: SagaSettings) -> list[CheckMessage]:
    hint = "Remove it: the engine commits its own transactions, and so does Django with its default."
    return [
        _error("E018", f"DATABASES[{alias!r}]['AUTOCOMMIT'] is off: nothing that sagas write would be committed.", hint)
        for alias in _list_aliases(settings)
        if not connections[alias].settings_dict["AUTOCOMMIT"]
    ]


def _check_vendors(settings: SagaSettings) -> list[CheckMessage]:
    hint = "Use django.db.backends.postgresql: locks, leases and the barrier rely on it."
    return [
        _error("E006", f"Database {alias!r} of the sagas is {connections[alias].vendor}, not PostgreSQL.", hint)
        for alias in _list_aliases(settings)
        if connections[alias].vendor != "postgresql"
    ]


def _check_participant(label: str, settings: SagaSettings, needed: AbstractSet[str]) -> list[CheckMessage]:
    """Check where the models of an app are, and that its database has the tables that it needs of the engine."""
    aliases = _find_aliases(label)
    hint = "Let DATABASE_ROUTERS send all models of the app to one alias of DATABASES."
    if unknown := aliases - set(connections.settings):
        return [_error("E008", f"Routers send {label!r} to {_join(unknown)}, which is not in DATABASES.", hint)]
    if len(aliases) > 1:
        return [_error("E008", f"Models of {label!r} are in several databases: {_join(aliases)}.", hint)]
    found: list[CheckMessage] = []
    for alias in aliases - {settings.database}:
        missing = {name for name in needed if not router.allow_migrate_model(alias, apps.get_model("sagas", name))}
        if "sagabarrier" in missing:
            what = f"Database {alias!r} of {label!r} gets no barrier table: a repeated step would act twice there."
            found.append(_error("E009", what, "Let allow_migrate of a router accept sagas.SagaBarrier for this alias."))
        if lacking := missing - {"sagabarrier"}:
            what = f"Database {alias!r} of {label!r} gets no tables for its events: {_join(lacking)}."
            hint = "Let allow_migrate of a router accept what sagas.participants.tables.is_participant_table accepts."
            found.append(_error("E009", what, hint))
        if router.allow_migrate_model(alias, apps.get_model("sagas", "Saga")):
            what = f"Database {alias!r} of {label!r} would get the engine's tables, too."
            found.append(_error("E010", what, "Let allow_migrate of a router refuse the other models of sagas there."))
    return found


def _list_event_participants() -> set[str]:
    """Return the labels of the apps that send or handle events here; none while events are off."""
    if not _are_events_on():
        return set()
    return {*catalogue.list_local_senders(), *catalogue.list_local_consumers()}


def _are_events_on() -> bool:
    try:
        return read_settings() is not None and get_event_settings().are_on
    except ImproperlyConfigured:
        return False


def _find_aliases(label: str) -> set[str]:
    """Return the aliases that the models of an app are written to; empty for an app without models."""
    if label not in apps.app_configs:
        return set()
    return {router.db_for_write(model) for model in apps.get_app_config(label).get_models()}


def _has_tables(alias: str) -> bool:
    return apps.get_model("sagas", "Saga")._meta.db_table in connections[alias].introspection.table_names()


def _join(names: set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _error(number: str, what: str, hint: str) -> CheckMessage:
    return Error(what, hint=hint, id=f"{TAG}.{number}")


def _warning(number: str, what: str, hint: str) -> CheckMessage:
    return Warning(what, hint=hint, id=f"{TAG}.{number}")
