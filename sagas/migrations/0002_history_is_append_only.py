"""Refuse UPDATE and DELETE of history rows, except where retention says so for its own transaction."""

from __future__ import annotations

from django.db import migrations

CREATE = """
CREATE FUNCTION sagas_refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('sagas.retention.purge', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'saga history is append-only (% refused)', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END;
$$;
CREATE TRIGGER sagas_history_is_append_only BEFORE UPDATE OR DELETE ON sagas_sagahistory
    FOR EACH ROW EXECUTE FUNCTION sagas_refuse_history_change();
"""

DROP = """
DROP TRIGGER sagas_history_is_append_only ON sagas_sagahistory;
DROP FUNCTION sagas_refuse_history_change();
"""


class Migration(migrations.Migration):
    dependencies = [("sagas", "0001_initial")]

    operations = [migrations.RunSQL(CREATE, DROP, hints={"model_name": "sagahistory"})]
