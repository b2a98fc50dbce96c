"""Settings of other projects, one function each, which changes the given settings.

A function's docstring is its line in the table of tested settings.
"""

VARIATIONS = {}
EUROPEAN = "Europe/Berlin"


def variation(function):
    """Register a function by its name."""
    VARIATIONS[function.__name__] = function
    return function


def apply(names, settings):
    """Apply the named variations, joined by a plus sign.

    Raises: KeyError for an unknown name.
    """
    for name in names.split("+"):
        VARIATIONS[name](settings)


def options_of(settings, alias="default"):
    return settings["DATABASES"][alias]["OPTIONS"]


@variation
def default(settings):
    """nothing but the two apps"""


# The database


def isolate(settings, name):
    from psycopg import IsolationLevel

    options_of(settings)["isolation_level"] = IsolationLevel[name]


@variation
def read_committed(settings):
    """isolation level READ COMMITTED in OPTIONS"""
    isolate(settings, "READ_COMMITTED")


@variation
def repeatable_read(settings):
    """isolation level REPEATABLE READ in OPTIONS"""
    isolate(settings, "REPEATABLE_READ")


@variation
def serializable(settings):
    """isolation level SERIALIZABLE in OPTIONS"""
    isolate(settings, "SERIALIZABLE")


@variation
def autocommit_off(settings):
    """AUTOCOMMIT = False"""
    settings["DATABASES"]["default"]["AUTOCOMMIT"] = False


@variation
def atomic_requests(settings):
    """ATOMIC_REQUESTS = True"""
    settings["DATABASES"]["default"]["ATOMIC_REQUESTS"] = True


@variation
def server_side_binding(settings):
    """server_side_binding = True in OPTIONS"""
    options_of(settings)["server_side_binding"] = True


@variation
def connections_for_a_minute(settings):
    """CONN_MAX_AGE = 60, CONN_HEALTH_CHECKS = True"""
    settings["DATABASES"]["default"].update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)


@variation
def connections_for_ever(settings):
    """CONN_MAX_AGE = None"""
    settings["DATABASES"]["default"]["CONN_MAX_AGE"] = None


@variation
def connection_pool(settings):
    """psycopg's pool in OPTIONS"""
    options_of(settings)["pool"] = {"min_size": 1, "max_size": 8, "timeout": 20}


@variation
def behind_pgbouncer(settings):
    """PgBouncer in transaction mode, DISABLE_SERVER_SIDE_CURSORS = True"""
    settings["DATABASES"]["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
    # PgBouncer accepts no libpq options; the database has them.
    del options_of(settings)["options"]


@variation
def read_replica(settings):
    """a router that reads from a replica, which is empty"""
    settings["DATABASE_ROUTERS"] = ["harbour.routers.ReadReplica"]


@variation
def engine_database(settings):
    """SAGAS["DATABASE"] names a database of its own"""
    settings["DATABASE_ROUTERS"] = ["harbour.routers.EngineApart"]
    settings["SAGAS"]["DATABASE"] = "engine"


# Time and language


@variation
def naive_times(settings):
    """USE_TZ = False, TIME_ZONE = "Europe/Berlin" """
    settings.update(USE_TZ=False, TIME_ZONE=EUROPEAN)


@variation
def naive_times_far_west(settings):
    """USE_TZ = False, TIME_ZONE = "America/Los_Angeles" """
    settings.update(USE_TZ=False, TIME_ZONE="America/Los_Angeles")


@variation
def time_zone(settings):
    """USE_TZ = True, TIME_ZONE = "Asia/Kathmandu" """
    settings["TIME_ZONE"] = "Asia/Kathmandu"


@variation
def time_zone_of_database(settings):
    """TIME_ZONE of the database "Europe/Berlin" """
    settings["DATABASES"]["default"]["TIME_ZONE"] = EUROPEAN


def read_another_clock(settings):
    """Put the test's schema of clock functions before PostgreSQL's own."""
    options_of(settings)["options"] += " -c search_path=clock,pg_catalog,public"


@variation
def naive_times_in_the_doubled_hour(settings):
    """USE_TZ = False in the hour that summer time repeats"""
    naive_times(settings)
    read_another_clock(settings)


@variation
def time_zone_of_database_in_the_doubled_hour(settings):
    """TIME_ZONE of the database in the hour that summer time repeats"""
    time_zone_of_database(settings)
    read_another_clock(settings)


@variation
def separators_de(settings):
    """LANGUAGE_CODE = "de", USE_THOUSAND_SEPARATOR = True"""
    settings.update(LANGUAGE_CODE="de", USE_THOUSAND_SEPARATOR=True)


@variation
def separators_fr(settings):
    """LANGUAGE_CODE = "fr", USE_THOUSAND_SEPARATOR = True"""
    settings.update(LANGUAGE_CODE="fr", USE_THOUSAND_SEPARATOR=True)


@variation
def separators_en(settings):
    """LANGUAGE_CODE = "en", USE_THOUSAND_SEPARATOR = True"""
    settings.update(LANGUAGE_CODE="en", USE_THOUSAND_SEPARATOR=True)


@variation
def separators_everywhere(settings):
    """formats of the project's own that part every two digits, LANGUAGE_CODE = "de" """
    separators_de(settings)
    settings["FORMAT_MODULE_PATH"] = "harbour.formats"


@variation
def no_translation(settings):
    """USE_I18N = False"""
    settings["USE_I18N"] = False


@variation
def right_to_left(settings):
    """LANGUAGE_CODE = "ar" """
    settings["LANGUAGE_CODE"] = "ar"


# The admin


@variation
def site_alone(settings):
    """an AdminSite of the project's own, and no other"""
    settings["CONSOLE_SITE"] = "ops"


@variation
def site_beside(settings):
    """an AdminSite of the project's own beside the default one"""
    settings.update(CONSOLE_SITE="ops", HAS_BOTH_SITES=True)


@variation
def site_instead(settings):
    """an AdminSite of the project's own as default_site"""
    apps = settings["INSTALLED_APPS"]
    apps[apps.index("django.contrib.admin")] = "harbour.sites.HarbourAdminConfig"


@variation
def no_admin(settings):
    """no django.contrib.admin, sessions, messages or staticfiles"""
    settings["INSTALLED_APPS"] = [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django_fsm",
        "sagas",
        "ferries",
    ]
    settings.update(MIDDLEWARE=["django.middleware.common.CommonMiddleware"], TEMPLATES=[])


@variation
def unfold(settings):
    """django-unfold"""
    settings["INSTALLED_APPS"].insert(0, "unfold")


@variation
def user_model(settings):
    """AUTH_USER_MODEL without user name, with a UUID for a key"""
    settings["INSTALLED_APPS"].append("people")
    settings["AUTH_USER_MODEL"] = "people.Person"


@variation
def forced_prefix(settings):
    """FORCE_SCRIPT_NAME = "/shop" """
    settings["FORCE_SCRIPT_NAME"] = "/shop"


@variation
def prefix_of_the_server(settings):
    """SCRIPT_NAME = "/shop" from the server in front"""
    settings["SERVER_PREFIX"] = "/shop"


# Celery


def send_by_celery(settings):
    # Frequent sweeps, so that the driver does not wait long for a worker; timeouts keep Django's defaults.
    from datetime import timedelta

    quick = timedelta(seconds=0.2)
    settings["SAGAS"].update(WAKEUP="celery", SWEEP_INTERVAL=quick, WAKEUP_INTERVAL=quick * 5)


@variation
def worker(settings):
    """a worker of Celery"""
    send_by_celery(settings)


@variation
def worker_on_connection_pool(settings):
    """a worker with psycopg's pool"""
    send_by_celery(settings)
    connection_pool(settings)


@variation
def worker_behind_pgbouncer(settings):
    """a worker behind PgBouncer in transaction mode"""
    send_by_celery(settings)
    behind_pgbouncer(settings)


@variation
def worker_on_repeatable_read(settings):
    """a worker on REPEATABLE READ"""
    send_by_celery(settings)
    repeatable_read(settings)


@variation
def eager(settings):
    """CELERY_TASK_ALWAYS_EAGER = True"""
    send_by_celery(settings)
    settings["CELERY_TASK_ALWAYS_EAGER"] = True


@variation
def eager_without_wakeups(settings):
    """CELERY_TASK_ALWAYS_EAGER = True and send_nothing"""
    settings["CELERY_TASK_ALWAYS_EAGER"] = True


@variation
def pickle_alone(settings):
    """CELERY_ACCEPT_CONTENT = ["pickle"]"""
    send_by_celery(settings)
    settings.update(CELERY_TASK_SERIALIZER="pickle", CELERY_ACCEPT_CONTENT=["pickle"])


@variation
def pickle_beside_json(settings):
    """CELERY_ACCEPT_CONTENT = ["pickle", "application/json"]"""
    settings.update(CELERY_TASK_SERIALIZER="pickle", CELERY_ACCEPT_CONTENT=["pickle", "application/json"])
