"""Health check of this container's web server: ``python -m config.health``, exit code 0 or 1."""

import http.client
import os
import sys


def main() -> int:
    """Request ``/healthz`` under a host name that the server accepts.

    Returns: 0 if the status is 200, else 1.
    """
    host = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].lstrip(".*") or "localhost"
    port = int(os.environ.get("BIND", "127.0.0.1:8000").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Host": host})
        return int(connection.getresponse().status != 200)
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
