"""The picture of the rooms shows what the import contract says."""

import runpy

from config.local.runtime import ROOT


def test_picture_of_the_rooms_is_in_sync() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))

    assert script["PICTURE"].read_text() == script["draw_rooms"](), "Run: python docs/draw_rooms.py"
