"""The operators' REST API: the same functions as the console and the command line.

Optional: needs the extra ``api`` (the REST framework and drf-spectacular), and nothing of the engine imports it. A
project includes it in its URLs::

    path("api/v1/", include("sagas.api.urls"))

The called functions check permissions themselves; reading needs the permission to view sagas. Authentication, parsers,
throttles (scope ``sagas``) and the responses to errors outside the engine are those of the project's REST framework
settings.
"""
