"""Database routers as in Django's documentation."""

from sagas.participants.tables import is_participant_table


class ReadReplica:
    """Router that reads everything of sagas from a replica, and writes to the primary."""

    def db_for_read(self, model, **hints):
        return "replica" if model._meta.app_label == "sagas" else "default"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"


class EngineApart:
    """Router with a database for the engine; the project's rows and accounts stay in the default one."""

    def db_for_read(self, model, **hints):
        return "engine" if model._meta.app_label == "sagas" else "default"

    db_for_write = db_for_read

    def allow_relation(self, one, other, **hints):
        return None

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        if app_label == "sagas":
            return db == "engine" or is_participant_table(app_label, model_name)
        return db == "default"
