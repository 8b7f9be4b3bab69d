"""Which unit tests need dvc_airflow alone, so that they can be run beside the wheel."""

import ast
import shutil
from pathlib import Path

from tests.support.copies import ROOT

#: parts of the project that the wheel does not have
FOREIGN = {"dags", "include", "ml_operators"}


def copy_own_tests(target: Path) -> None:
    """Copy the unit tests, and what they share, into an empty folder."""
    chosen = {path for path in (ROOT / "tests" / "unit").glob("*.py") if is_own(path)}
    chosen |= {path for path in (ROOT / "tests" / "support").glob("*.py") if is_own(path)}
    for path in (ROOT / "tests" / "__init__.py", *chosen):
        copied = target / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
    (target / "pytest.ini").write_text("[pytest]\n")  # not the project's: it knows the warnings of one set of packages


def is_own(path: Path) -> bool:
    """Whether a module needs none of `FOREIGN`, nor does what it imports of the tests."""
    source = path.read_text(encoding="utf-8")
    modules = imported_modules(source)
    if "ml_operators" in source or any(module.split(".")[0] in FOREIGN for module in modules):  # or started by its name
        return False
    files = [ROOT / f"{module.replace('.', '/')}.py" for module in modules if module.startswith("tests.")]
    return all(is_own(file) for file in files if file.exists())


def imported_modules(source: str) -> set[str]:
    """The modules that a module imports, at the top and below."""
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
