"""Formats of times in the admin: to the second, with the zone, as in the console."""

DATETIME_FORMAT = "Y-m-d H:i:s e"
SHORT_DATETIME_FORMAT = DATETIME_FORMAT
