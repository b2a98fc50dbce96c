"""Style sheet and icons of the console: contrast, and no external resources."""

import re
from pathlib import Path

import pytest

from sagas.operators.presentation.badges import SAGA_BADGES, STEP_BADGES, Tone

STATIC = Path(__file__).resolve().parents[2] / "sagas" / "static" / "sagas"
CSS = (STATIC / "console.css").read_text()
THEMES = {
    "light": CSS.split('html[data-theme="light"]')[1].split("}")[0],
    "dark by the system": CSS.split("prefers-color-scheme: dark")[1].split("}")[0],
    "dark by choice": CSS.split('html[data-theme="dark"]')[1].split("}")[0],
}


def colours_of(theme: str) -> dict[str, str]:
    return dict(re.findall(r"--saga-([a-z-]+): (#[0-9a-f]{6});", THEMES[theme]))


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
    colours = colours_of(theme)
    page = "#ffffff" if theme == "light" else "#121212"

    for name in (*Tone, "grave"):
        assert contrast(colours[f"{name}-fg"], colours[f"{name}-bg"]) >= 4.5, name
    assert contrast(colours["focus"], page) >= 3


def test_both_dark_themes_are_the_same() -> None:
    assert colours_of("dark by the system") == colours_of("dark by choice")
    assert colours_of("light").keys() == colours_of("dark by choice").keys()


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
