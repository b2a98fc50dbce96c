"""Tables that the engine keeps in a participant's database, for the project's database routers. Imports no model."""

PARTICIPANT_MODELS = frozenset({
    "sagabarrier", "eventstream", "outboxevent", "inboxevent", "inboxkey", "eventconsumer", "eventoperation",
    "eventtrouble", "intent", "intentattempt", "intenthistory",
})  # fmt: skip


def is_participant_table(app_label: str, model_name: str | None) -> bool:
    """Return whether a model of the engine belongs to every participant's database, by the names a router is given."""
    return app_label == "sagas" and model_name in PARTICIPANT_MODELS
