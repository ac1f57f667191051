"""The project's own files: what the README promises, and what must not drift apart."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# The rooms of the package from the ground floor up: each may import those before it, and itself.
# `backend` is TensorFlow and Keras, so that nothing before it knows of either.
ROOMS = (
    *("parameters", "validation", "files", "columns", "difficulty", "style", "samplers"),
    *("backend", "sources", "loaders", "history", "datasets", "loops"),
    *("checks", "comparison", "figures", "exercises", "lab", "course", "notebook_guard", "__main__"),
)


def load_toml(path: Path) -> dict:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pytest brings it along
    return tomllib.loads(path.read_text(encoding="utf-8"))


def ranges(requirements: list[str]) -> dict[str, str]:
    """Version range by package name."""
    return dict(re.match(r"([\w-]+)(.*)", line).groups() for line in requirements)


def test_conda_environment_has_the_ranges_of_pyproject() -> None:
    project = load_toml(REPOSITORY / "pyproject.toml")["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["lab"]
    *lines, from_pip = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    conda = ranges(lines)
    assert conda.pop("python") == project["requires-python"]
    assert conda.pop("pip") == ">=22.3"
    expected = ranges(needed)
    for name in ("tensorflow", "keras"):  # come with the project itself, from PyPI
        del expected[name]
    expected["matplotlib-base"] = expected.pop("matplotlib")  # conda's own name for it without Qt
    assert conda == expected
    assert from_pip == {"pip": ["-e .[lab]"]}


def test_every_dependency_has_both_bounds() -> None:
    project = load_toml(REPOSITORY / "pyproject.toml")["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    for name, versions in ranges(project["dependencies"] + extras).items():
        assert name == "batchlab" or re.fullmatch(r">=[\d.]+(,!=[\d.]+\*)*,<[\d.]+", versions), name


def test_readme_names_the_notebooks_and_nothing_that_is_not_there() -> None:
    links = {link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link}
    assert [link for link in sorted(links) if not (REPOSITORY / link).exists()] == []
    notebooks = {f"notebooks/{path.name}" for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    assert notebooks <= links


def test_readme_states_the_minutes_of_the_notebooks() -> None:
    table = dict(re.findall(r"\]\((notebooks/\w+\.ipynb)\).*\| (\d+) \|$", README, re.MULTILINE))
    assert table
    for path, minutes in table.items():
        assert f"about {minutes} minutes" in (REPOSITORY / path).read_text(encoding="utf-8"), path


def test_readme_examples_run_one_after_the_other() -> None:
    example = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    ran = subprocess.run(
        [sys.executable, "-c", example], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    mix = re.search(r"\[([\d. ]+)\]", ran.stdout)[1].split()
    assert len(mix) == 10
    assert sum(map(float, mix)) == pytest.approx(1, abs=0.05)
    assert "b.run(" in ran.stdout  # the recipe of the second of two runs


def test_ci_takes_its_command_from_the_readme() -> None:
    """The pattern in .ci/run must find one line, the one that ends in pytest."""
    pattern = re.search(r"grep -x '([^']+)' README.md", (REPOSITORY / ".ci/run").read_text())[1]
    (command,) = re.findall(f"^{pattern}$", README, re.MULTILINE)
    assert command.endswith(".venv/bin/python -m pytest")


def imported(path: Path) -> set[tuple[int, str]]:
    """Line and dotted name of all that a file of the package imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {(node.lineno, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} is relative"
            names |= {(node.lineno, f"{node.module}.{alias.name}") for alias in node.names}
    return names


def test_nothing_imports_upwards() -> None:
    package, faults = REPOSITORY / "batchlab", []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room == "__init__":  # the roof: all public names, imported when first used
            continue
        allowed = {*ROOMS[: ROOMS.index(room) + 1], "__version__"}
        for line, name in sorted(imported(path)):
            first, _, rest = name.partition(".")
            upwards = first == "batchlab" and rest and rest.split(".")[0] not in allowed
            private = first in ("tensorflow", "keras") and "backend" not in allowed
            if upwards or private:
                faults.append(f"{path.relative_to(REPOSITORY)}:{line} imports {name}")
    assert faults == []
