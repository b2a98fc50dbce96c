"""Style sheet and icons of the console: contrast, and no external resources."""

import re
from pathlib import Path

import pytest

from sagas.operators.presentation.badges import SAGA_BADGES, STEP_BADGES, Tone

STATIC = Path(__file__).resolve().parents[2] / "sagas" / "static" / "sagas"
CSS = (STATIC / "console.css").read_text()
# Each colour has a value for light pages and one for dark pages.
COLOURS = re.findall(r"--saga-([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", CSS)
THEMES = {
    "light": {name: light for name, light, _ in COLOURS},
    "dark": {name: dark for name, _, dark in COLOURS},
}


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_colours_have_enough_contrast(theme: str) -> None:
    colours = THEMES[theme]

    for tone in Tone:
        for ground in (f"{tone}-bg", "card", "bg", "hover"):
            assert contrast(colours[f"{tone}-fg"], colours[ground]) >= 4.5, (tone, ground)
    for text in ("text", "muted", "accent"):
        for ground in ("card", "bg", "hover", "selected"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    for edge in ("focus", "control"):
        assert contrast(colours[edge], colours["bg"]) >= 3
        assert contrast(colours[edge], colours["card"]) >= 3


def test_every_icon_exists() -> None:
    icons = (STATIC / "icons.svg").read_text()

    for badge in (*SAGA_BADGES.values(), *STEP_BADGES.values()):
        assert f'<symbol id="{badge.icon}"' in icons


def test_styles_load_nothing() -> None:
    sheets = sorted(STATIC.glob("*.css"))

    assert {sheet.name for sheet in sheets} >= {"console.css", "page.css"}
    for sheet in sheets:
        text = sheet.read_text()
        assert "url(" not in text
        assert "@import" not in text
        # Colours are declared in one place, and their contrast is measured there.
        assert sheet.name == "console.css" or not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", text)


def test_templates_contain_no_scripts_or_styles() -> None:
    templates = list((STATIC.parents[1] / "templates").rglob("*.html"))

    assert len(templates) >= 10
    for template in templates:
        text = template.read_text()
        for forbidden in ("<script", "<style", "style=", "onclick", "javascript:", "|safe", "autoescape"):
            assert forbidden not in text, template
