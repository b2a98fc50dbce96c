"""Driver of the other project: runs its features and prints one line of JSON for each.

Usage: drive.py [NAME ...]     (without names everything that the installed apps allow, but its own tests)
"""

import json
import os
import sys
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "harbour.settings")

LEFT_OUT = {"complaints", "lengthen_history", "operate_tall_saga", "own_tests", "run_eagerly", "set_the_scene"}


def main(names):
    from driving import warned

    warned.keep_warnings()
    import django

    django.setup()
    from django.apps import apps
    from django.urls import set_script_prefix
    from driving import running, upkeep  # noqa: F401 - each makes its feats known
    from driving.feats import FEATS, drive

    if apps.is_installed("django.contrib.admin"):
        from driving import console  # noqa: F401
    # As a request handler does with the front server's SCRIPT_NAME.
    set_script_prefix(f"{running.prefix()}/")
    for name in names or [name for name in FEATS if name not in LEFT_OUT]:
        began = time.process_time()
        result = drive(name)
        line = {"driven": name, "result": result, "seconds": round(time.process_time() - began, 2)}
        sys.stdout.write(json.dumps(line, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
