"""The table of threats in README tells the truth: each test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECTION = re.search(
    r"^## Security\n(.*?)^## ", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
ROWS = [
    line.strip("|").split("|")
    for line in (SECTION[1] if SECTION else "").splitlines()
    if line.startswith("| ")
][1:]


def named_in(name: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / f"{name}.py").read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_threat_names_tests_that_exist() -> None:
    assert len(ROWS) >= 19
    for threat, done, tests in ROWS:
        assert threat.strip()
        assert done.strip()
        named = re.findall(r"`(test_\w+)::(test_\w+)`", tests)
        assert named, threat
        assert tests.count("`") == 2 * len(named), threat
        for module, test in named:
            assert test in named_in(module), f"{module}::{test}"
