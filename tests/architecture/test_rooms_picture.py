"""Picture of the layers: matches the import contract."""

import runpy

from config.local.runtime import ROOT


def test_picture_of_the_layers_is_in_sync() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))

    assert script["PICTURE"].read_text() == script["draw_rooms"](), "Run: python docs/draw_rooms.py"
