"""Supported versions: the same wherever they are named."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from config.local.runtime import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DJANGO, PYTHON = "Framework :: Django :: ", "Programming Language :: Python :: "
NAMED = r"{} ((?:\d\.\d+(?:, | and | or )?)+)"


def list_classified(kind: str) -> list[str]:
    """Return the versions that the classifiers name, without the bare ``3`` of Python."""
    return [name.removeprefix(kind) for name in PROJECT["classifiers"] if name.startswith(kind) and "." in name]


def read_named(path: str, product: str) -> list[str]:
    """Return the versions of a product in the sentence of a page that names most of them."""
    text = " ".join((ROOT / path).read_text().split())
    return re.findall(r"\d\.\d+", max(re.findall(NAMED.format(product), text), key=len))


@pytest.mark.parametrize("path", ["README.md", "docs/how-to/deploying.md"])
def test_pages_name_the_versions_of_the_classifiers(path: str) -> None:
    assert read_named(path, "Python") == list_classified(PYTHON)
    assert read_named(path, "Django") == list_classified(DJANGO)


def test_wheel_requires_these_versions_of_django_and_no_newer_one() -> None:
    [django] = [Requirement(line) for line in PROJECT["dependencies"] if line.startswith("Django")]
    versions = list_classified(DJANGO)

    assert versions == ["5.2", "6.0", "6.1"]
    assert [version for version in ("5.1", *versions, "6.2", "7.0") if f"{version}.1" in django.specifier] == versions


def test_wheel_requires_these_versions_of_python_or_newer() -> None:
    wanted = SpecifierSet(PROJECT["requires-python"])

    assert [version for version in ("3.10", *list_classified(PYTHON), "3.14") if version in wanted] == [
        *list_classified(PYTHON),
        "3.14",
    ]
