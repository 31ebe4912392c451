"""Imports run one way, common <- zoo <- trainers <- export, and who asks an exported model needs little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["common", "zoo", "trainers", "export"]  # each imports itself and those before it
LAZY = {("trainers/run.py", "export"), ("zoo/serving.py", "export")}  # against the arrows, when called: they export
FILES = [file.relative_to(ROOT).as_posix() for name in PACKAGES for file in sorted((ROOT / name).rglob("*.py"))]


def imports(file):
    """The modules that a file imports: set of (dotted name, whether it is within a function)."""
    found = set()

    def visit(node, is_lazy):
        if isinstance(node, ast.Import):
            found.update((alias.name, is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports by a relative name"
            found.add((node.module, is_lazy))
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update((name, is_lazy) for name in names if path_of(name))  # a module, not something in one
        for child in ast.iter_child_nodes(node):
            visit(child, is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(ast.parse((ROOT / file).read_text()), False)
    return found


def path_of(module):
    """The file of one of our modules; None for any other."""
    stem = module.replace(".", "/")
    return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if (ROOT / path).exists()), None)


@pytest.mark.parametrize("file", FILES)
def test_imports_run_one_way(file):
    own = PACKAGES.index(file.split("/")[0])
    for module, is_lazy in imports(file):
        package = module.split(".")[0]
        if package in PACKAGES[own + 1 :] or package in ("tests", "benchmarks"):
            assert is_lazy and (file, package) in LAZY, f"{file} imports {module}"


@pytest.mark.parametrize("module", ["export.sample", "export.client"])
def test_asking_an_exported_model_needs_no_model_and_no_tensorflow_at_the_start(module):
    seen, queue = set(), [module]
    while queue:
        name = queue.pop()
        if name not in seen and (path := path_of(name)):
            queue += [imported for imported, is_lazy in imports(path) if not is_lazy]
            queue.append(name.rpartition(".")[0])  # whose __init__ runs before it
        seen.add(name)
    assert {"common.cli", "export.tasks"} <= seen
    assert not {name.split(".")[0] for name in seen} & {"zoo", "trainers", "keras", "tensorflow"}


def test_every_exception_is_of_a_file():
    assert {file for file, _ in LAZY} <= set(FILES)


def test_above_a_checkout_named_zoo_the_package_is_found(tmp_path):
    """Not the checkout itself, as a namespace without anything in it."""
    (tmp_path / "zoo" / "zoo").mkdir(parents=True)
    code = "import importlib.util; print(importlib.util.find_spec('zoo').origin)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("/zoo/__init__.py")
