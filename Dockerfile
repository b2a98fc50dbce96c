# syntax=docker/dockerfile:1

# --- Install the locked dependencies, with whatever that needs, into an environment that is copied on ---
FROM python:3.13-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN python -m venv /opt/venv
COPY requirements/image.lock /tmp/image.lock
RUN /opt/venv/bin/python -m pip install --no-deps --require-hashes --only-binary :all: --requirement /tmp/image.lock

COPY . /app
WORKDIR /app
# The collected files are named by their content; no setting of the running shop goes into them.
RUN SECRET_KEY=only-for-building DATABASE_URL=postgres://nobody@localhost/none STATIC_ROOT=/app/static \
    /opt/venv/bin/python manage.py collectstatic --no-input --verbosity 0 \
    && /opt/venv/bin/python -m compileall -q config inventory orders payments sagas shipping

# --- Run: no compiler, no pip cache, no root ---
FROM python:3.13-slim-bookworm AS run

RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin shop

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATIC_ROOT=/app/static \
    LOG_FORMAT=json \
    BIND=0.0.0.0:8000

USER 10001
EXPOSE 8000

# Checks the process only; load balancers ask /readyz whether it can reach its database.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-m", "config.health"]

# SIGTERM lets gunicorn finish the requests that are being answered, and a Celery worker its steps.
STOPSIGNAL SIGTERM
CMD ["gunicorn", "--config", "python:config.gunicorn", "config.wsgi"]
