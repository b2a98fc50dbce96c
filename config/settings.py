"""Settings from the environment; ``.env.example`` documents each variable.

The only other source is the file that a running ``make demo`` keeps under ``var/``, so that commands in the same
checkout use the demo's servers without any variables.
"""

import os
from pathlib import Path
from typing import Any

import environ
import structlog
from django.core.exceptions import ImproperlyConfigured

from config.engine_settings import read_engine_settings
from config.local.runtime import read_runtime
from config.log_lines import RedactingFormatter, RedactingJsonFormatter, show_invisible
from config.mailers import describe_mail_server
from config.reading import read_database_url, read_number, read_rate

BASE_DIR = Path(__file__).resolve().parent.parent

if "DATABASE_URL" not in os.environ:
    for _name, _value in read_runtime().items():
        os.environ.setdefault(_name, _value)

env = environ.FileAwareEnv()


# --- Basics ---------------------------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="only-for-debugging-on-one-machine" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it to a long random text, or start the demo with 'make demo'."
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"] if DEBUG else [])

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    # Before the admin, whose front page it adds a line to: how many sagas need attention.
    "sagas",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "django_structlog",
    "django_fsm",
    "orders",
    "payments",
    "inventory",
    "shipping",
    *env.list("EXTRA_APPS", default=[]),
]

MIDDLEWARE = [
    "config.requests.ProxyHeadersMiddleware",
    "config.headers.ContentSecurityPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "config.requests.ContentEncodingMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "config.formats"  # the participants' admins show times as the console does
USE_TZ = True

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]


# --- Databases ------------------------------------------------------------------------------------------------------

DATABASE_POOL_SIZE = read_number("DATABASE_POOL_SIZE", env.str("DATABASE_POOL_SIZE", default="0"))
DATABASE_STATEMENT_TIMEOUT = read_number(
    "DATABASE_STATEMENT_TIMEOUT", env.str("DATABASE_STATEMENT_TIMEOUT", default="30")
)


def configure_database(name: str, url: str) -> dict[str, Any]:
    """Return a database URL in Django's form, with time-outs so that a lost server cannot block a worker.

    Units: DATABASE_STATEMENT_TIMEOUT in seconds, 0 means none.
    """
    database = read_database_url(name, url)
    timeouts = {
        "statement_timeout": f"{DATABASE_STATEMENT_TIMEOUT}s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "60s",
    }
    options: dict[str, Any] = {
        "connect_timeout": 3,
        "tcp_user_timeout": 30_000,
        "application_name": "sagas",
        "options": " ".join(f"-c {name}={value}" for name, value in timeouts.items()),
        **(database.get("OPTIONS") or {}),
    }
    if not DATABASE_POOL_SIZE:
        return {**database, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}
    # A failing connection is given up soon: until then it occupies its slot, and the pauses between its attempts
    # double, so a pool would stay empty for as long again as its database was unavailable.
    options["pool"] = {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 1, "reconnect_timeout": 1}
    return {
        **database,
        # It checks each connection before use, so neither Django nor the pool has to.
        "ENGINE": "config.postgresql",
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "OPTIONS": options,
    }


_main_database_url = env.str("DATABASE_URL", default="")
if not _main_database_url:
    raise ImproperlyConfigured(
        "DATABASE_URL is not set. Name a PostgreSQL database, e.g. postgres://user:password@host:5432/name, "
        "or start the demo with 'make demo'."
    )
DATABASES = {"default": configure_database("DATABASE_URL", _main_database_url)}
for _alias, _variable in (
    ("payments", "PAYMENTS_DATABASE_URL"),
    ("inventory", "INVENTORY_DATABASE_URL"),
    ("shipping", "SHIPPING_DATABASE_URL"),
):
    _url = env.str(_variable, default="")
    if _url and _url != _main_database_url:
        DATABASES[_alias] = configure_database(_variable, _url)
DATABASE_ROUTERS = ["config.routers.ParticipantRouter"]


# --- Celery ---------------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="redis://127.0.0.1:6379/0")
_redis_broker = CELERY_BROKER_URL.startswith(("redis://", "rediss://"))
_amqp_broker = CELERY_BROKER_URL.startswith(("amqp://", "amqps://", "pyamqp://"))

CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_EAGER_RESULT = False
# A message is only a wake-up: the sweep replaces lost ones, and the claim refuses late ones.
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_DEFAULT_QUEUE = "sagas"
CELERY_TASK_CREATE_MISSING_QUEUES = False
# Last resort for a stuck task: longer than a time slice and the longest step time-out together.
CELERY_TASK_TIME_LIMIT = env.int("CELERY_TASK_TIME_LIMIT", default=300)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = _redis_broker
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 2
# Otherwise Celery opens a new database connection for every task.
CELERY_DB_REUSE_MAX = 1000
CELERY_TIMEZONE = TIME_ZONE

CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {}
if _redis_broker:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "global_keyprefix": "sagas:",
        "socket_connect_timeout": 1,
        "socket_timeout": 5,
        "health_check_interval": 10,
    }
elif _amqp_broker:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"write_timeout": 5}


# --- Engine and shop ------------------------------------------------------------------------------------------------

# Only differences from the engine's defaults, as one JSON object; sagas/conf.py documents every key.
SAGAS: dict[str, Any] = read_engine_settings(env.str("SAGAS", default=""))
# What SAGAS itself says about events goes before the variables of their own.
SAGAS["EVENTS"] = {
    "SOURCE": "/shop",
    "URL": env.str("EVENTS_URL", default=CELERY_BROKER_URL if _redis_broker else ""),
    "LAYOUT": env.str("EVENTS_LAYOUT", default="flow"),
    "PREFIX": env.str("EVENTS_PREFIX", default=""),
    "BARE_TOPICS": env.list("EVENTS_BARE_TOPICS", default=[]),
    "PARTICIPANTS": env.list("EVENTS_PARTICIPANTS", default=[]),
    **SAGAS.get("EVENTS", {}),
}

# Mail server and sender of the mails of SAGAS["ON_ATTENTION"].
vars().update(describe_mail_server(env.email_url("EMAIL_URL", default="consolemail://")))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="sagas@localhost")

# How the participants of a checkout work together unless a request says otherwise: orchestration or choreography.
CHECKOUT_COORDINATION = env.str("CHECKOUT_COORDINATION", default="orchestration")

PAYMENT_GATEWAY = env.str("PAYMENT_GATEWAY", default="sandbox")
STRIPE_API_KEY = env.str("STRIPE_API_KEY", default="")
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="https://api.stripe.com")


# --- REST -----------------------------------------------------------------------------------------------------------

# Number of proxies before the web server, so that throttles use the client's real address, not a forged header.
NUM_PROXIES = read_number("NUM_PROXIES", env.str("NUM_PROXIES", default="0"))

# ``Prefer: wait`` may occupy half of the web process's threads; none if there is only one.
MOST_WAITING_REQUESTS = read_number("WEB_THREADS", env.str("WEB_THREADS", default="8"), at_least=1) // 2

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "orders.api.authentication.StrictTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["orders.api.parsers.ShopJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["orders.api.throttling.ScopeThrottle"],
    "DEFAULT_SCHEMA_CLASS": "orders.api.schema.ShopSchema",
    "DEFAULT_THROTTLE_RATES": {
        "checkout": read_rate("CHECKOUT_RATE", env.str("CHECKOUT_RATE", default="60/minute")),
        "sagas": read_rate("OPERATOR_RATE", env.str("OPERATOR_RATE", default="300/minute")),
        # Per account and address, per account, per address.
        "log-in": read_rate("LOG_IN_RATE", env.str("LOG_IN_RATE", default="10/minute")),
        "log-in-account": read_rate("LOG_IN_ACCOUNT_RATE", env.str("LOG_IN_ACCOUNT_RATE", default="100/hour")),
        "log-in-address": read_rate("LOG_IN_ADDRESS_RATE", env.str("LOG_IN_ADDRESS_RATE", default="100/minute")),
    },
    "EXCEPTION_HANDLER": "orders.api.problems.handle_exception",
    # Neither OPTIONS nor ?format= is part of the contract.
    "DEFAULT_METADATA_CLASS": None,
    "URL_FORMAT_OVERRIDE": None,
    "NUM_PROXIES": NUM_PROXIES,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Sagas for Django: the shop",
    "DESCRIPTION": "Place, watch and cancel orders. Each checkout is a saga; operators act on sagas.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "orders.api.schema.describe_strictness",
    ],
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024


# --- Static files ---------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = env.str("STATIC_ROOT", default="") or None
# Without a collected directory (demo, tests), the files are served from the apps.
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = DEBUG
_static_storage = "whitenoise.storage.CompressedManifestStaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {
        "BACKEND": _static_storage if STATIC_ROOT else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}


# --- Security -------------------------------------------------------------------------------------------------------

# Off only without TLS: in the demo on 127.0.0.1, and with DEBUG.
HTTPS_ONLY = env.bool("HTTPS_ONLY", default=not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS_ONLY
SECURE_HSTS_SECONDS = read_number("HSTS_SECONDS", env.str("HSTS_SECONDS", default="3600")) if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = False
# One site cannot decide whether its whole domain is served over TLS only.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# Probes and scrapers connect to the process directly, without the proxy that terminates TLS.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
# Explicit, although it is Django's default: host and port are never taken from a proxy's headers.
USE_X_FORWARDED_HOST = USE_X_FORWARDED_PORT = False
if NUM_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# There is one log-in page; after it, users without a next page, or with a foreign one, get the admin's index.
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "admin:index"
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
CSRF_FAILURE_VIEW = "orders.api.problems.refuse_csrf"
SESSION_ENGINE = "orders.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"


# --- Logging --------------------------------------------------------------------------------------------------------

LOG_FORMAT = env.str("LOG_FORMAT", default="console")
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
if LOG_FORMAT not in {"console", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}. Use 'console' or 'json'.")

# Log lines have the request id that a proxy has set, but not one that a client invented.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = DJANGO_STRUCTLOG_TRUST_UPSTREAM_CORRELATION_ID = NUM_PROXIES > 0
IPWARE_META_PRECEDENCE_ORDER = ("HTTP_X_FORWARDED_FOR", "REMOTE_ADDR")

_shared_processors = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
_renderers: dict[str, list[Any]] = {
    # Never a traceback with local variables: they contain addresses and payment methods.
    "console": [
        show_invisible,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ],
    "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": RedactingJsonFormatter if LOG_FORMAT == "json" else RedactingFormatter,
            "foreign_pre_chain": _shared_processors,
            "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers[LOG_FORMAT]],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # Django's own handlers would print a second time.
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.server": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        # Two lines for every message would bury the engine's own log of its steps.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
    },
}

# Django's own error reports, on DEBUG pages and in mails, without secrets and values of variables.
DEFAULT_EXCEPTION_REPORTER = "config.reporting.RedactingReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.reporting.RedactingFilter"

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
