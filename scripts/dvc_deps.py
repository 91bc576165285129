"""The dependencies of a stage, read from its source: the library modules it imports and the params it uses.

`python scripts/dvc_deps.py` prints the code dependencies of each stage; with `--write` it also writes them into
dvc.yaml.
"""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
LIBRARY = "scratchlm"
SOURCES = Path("src")
DOOR = SOURCES / LIBRARY / "__init__.py"  # for users; no stage computes with it
LAUNCHER = SOURCES / LIBRARY / "stage" / "__main__.py"  # dvc.yaml runs the stages with it
DVC_YAML = ROOT / "dvc.yaml"
KEY_INDENT = 4  # of a stage's keys in dvc.yaml
LINE = 100


def read_yaml(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(path)
    return loaded


def script(stage: str) -> Path:
    return Path("stages") / f"{stage}.py"


def code_dependencies(stage: str) -> list[str]:
    """Return a stage's script and the packages it imports; a package of which one file is used is that file."""
    reached = imported_files(stage)
    packages: dict[Path, set[Path]] = {}
    for path in reached - {script(stage)}:
        package = next(folder for folder in (path, *path.parents) if folder.parent == SOURCES / LIBRARY)
        packages.setdefault(package, set()).add(path)
    code = [files.pop() if len(files) == 1 else package for package, files in packages.items()]
    return [str(script(stage)), *sorted(map(str, code))]


def imported_files(stage: str) -> set[Path]:
    """Return a stage's script, the library modules it imports, directly or not, and the data in their packages.

    An `__init__.py` with nothing but its docstring is left out.
    """
    found: set[Path] = set()
    unread = {script(stage), LAUNCHER}
    while unread:
        path = unread.pop()
        found.add(path)
        unread |= imported_modules(path) - found - {DOOR}
    packages = {path.parent for path in found}
    found |= {path for path in data_files() if package_of(path) in packages}
    return {path for path in found if path.name != "__init__.py" or len(syntax(path).body) > 1}


@cache
def syntax(path: Path) -> ast.Module:
    """Parse a file of the project."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


@cache
def imported_modules(path: Path) -> set[Path]:
    """Return the library files that a file imports, also inside functions, and their packages' `__init__.py`."""
    found: set[Path] = set()
    for node in ast.walk(syntax(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: imports here are absolute"
            # `from package import name` may name a module of the package.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == LIBRARY:
                for end in range(1, len(parts) + 1):
                    base = SOURCES.joinpath(*parts[:end])
                    candidates = (base.with_suffix(".py"), base / "__init__.py")
                    found |= {candidate for candidate in candidates if (ROOT / candidate).is_file()}
    return found


def data_files() -> Iterator[Path]:
    """Yield the files of the library that are not Python, such as prompts."""
    for path in working_tree(ROOT, "src"):
        if path.suffix != ".py":
            yield path


def package_of(path: Path) -> Path:
    return next(folder for folder in path.parents if (ROOT / folder / "__init__.py").is_file())


def working_tree(root: Path, *folders: str) -> list[Path]:
    """Return the files that Git tracks or does not ignore, relative to `root`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in sorted(set(listed.split("\0"))) if name and (root / name).is_file()]


def leaf_keys(params: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of all params that are not sections."""
    keys = []
    for key, value in params.items():
        keys += leaf_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def expand(names: set[str], leaves: list[str]) -> set[str]:
    """Replace each section in `names` by its leaf keys."""
    return {leaf for leaf in leaves if any(leaf == name or leaf.startswith(f"{name}.") for name in names)}


def params_read(stage: str, leaves: list[str]) -> set[str]:
    """Return the leaf keys that a stage's script uses: `params.a.b`, also through `name = params.a`.

    A section that is passed on as a whole counts with all its keys.
    """
    tree = syntax(script(stage))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    own_functions = {function.name for function in functions}
    names: set[str] = set()
    for function in functions:
        aliases = {"params": ""}
        assigned = []
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                key = key_of(node.value, aliases, leaves)
                if key is not None and key not in leaves:
                    aliases[node.targets[0].id] = key
                    assigned.append(node.value)
        skipped = {id(node) for node in assigned}
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in own_functions:
                # The keys that a function of this script reads are found in that function.
                skipped |= {id(argument) for argument in node.args if key_of(argument, aliases, leaves) == ""}
        for node in ast.walk(function):
            if id(node) in skipped:
                skipped.update(map(id, ast.iter_child_nodes(node)))
            elif (key := key_of(node, aliases, leaves)) is not None:
                names.add(key)
                skipped.update(map(id, ast.iter_child_nodes(node)))  # `params.a` inside `params.a.b`
    return set(leaves) if "" in names else expand(names, leaves)


def key_of(node: ast.AST, aliases: dict[str, str], leaves: list[str]) -> str | None:
    """Return the dotted key that an expression stands for ("" for all of params), or None."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute):
        section = key_of(node.value, aliases, leaves)
        if section is not None:
            key = f"{section}.{node.attr}".lstrip(".")
            return key if expand({key}, leaves) else None  # a method, as in params.model.model_dump()
    return None


def with_code_dependencies(text: str) -> str:
    """Return the text of a dvc.yaml with the right code dependencies of every stage, in flow style."""
    stages = YAML(typ="safe", pure=True).load(text)["stages"]
    lines: list[str] = []
    stage, inside = "", False
    for line in text.splitlines():
        if inside and len(line) - len(line.lstrip()) <= KEY_INDENT and line.strip() != "]":
            inside = False
        if inside:
            continue
        if line.startswith("  ") and line.strip().removesuffix(":") in stages:
            stage = line.strip().removesuffix(":")
        if line.startswith(f"{' ' * KEY_INDENT}deps:"):
            inside = True
            lines += deps_lines(wanted_deps(stage, stages[stage]["deps"]))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def deps_lines(deps: list[str]) -> list[str]:
    """Return a list of deps in flow style, as lines of at most 100 characters."""
    start = f"{' ' * KEY_INDENT}deps: ["
    return textwrap.wrap(
        ", ".join(deps) + "]",
        LINE,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def wanted_deps(stage: str, deps: list[str]) -> list[str]:
    """Return the right deps of a stage: its data as before, then its code."""
    data = [path for path in deps if not path.startswith(("src/", "stages/"))]
    return [*sorted(data), *code_dependencies(stage)]


def main() -> None:
    """Print the code dependencies of each stage; with --write, also write them into dvc.yaml."""
    if sys.argv[1:] == ["--write"]:
        DVC_YAML.write_text(with_code_dependencies(DVC_YAML.read_text(encoding="utf-8")), encoding="utf-8")
    for stage in read_yaml(DVC_YAML)["stages"]:
        print(f"{stage}:", *code_dependencies(stage), sep="\n  - ")


if __name__ == "__main__":
    main()
