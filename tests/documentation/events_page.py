"""Files of the page docs/how-to/events.md: each of its blocks names one."""

import re
from pathlib import Path
from typing import Any

from config.local.runtime import ROOT

PAGE = ROOT / "docs" / "how-to" / "events.md"
BLOCK = re.compile(r"^```python\n# (\w+)/(\w+)\.py(?:: add)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
APPS = ("tills", "shelves")


def write_files(root: Path) -> list[str]:
    """Write the blocks of the page as files.

    Returns: the names of their modules.
    """
    names = []
    for package, name, text in BLOCK.findall(PAGE.read_text()):
        directory = root / package
        directory.mkdir(exist_ok=True)
        (directory / "__init__.py").touch()
        (directory / f"{name}.py").write_text(text)
        names.append(f"{package}.{name}")
    return names


def read_settings(name: str) -> dict[str, Any]:
    """Return what a block of settings adds."""
    [text] = [text for package, block, text in BLOCK.findall(PAGE.read_text()) if (package, block) == ("shop", name)]
    found: dict[str, Any] = {}
    exec(text, found)  # noqa: S102 - the page is ours
    return found
