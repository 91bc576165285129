"""What a stage depends on, read from its source: the library modules it imports and the params it uses.

`python tests/pipeline/dependencies.py` prints each stage's code dependencies as dvc.yaml wants them;
with `--write` it puts them there.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
LIBRARY = "scratchlm"
SOURCES = Path("src")
DOOR = SOURCES / LIBRARY / "__init__.py"  # only what users import; nothing a stage computes comes from it
DVC_YAML = ROOT / "dvc.yaml"


def read_yaml(path: Path) -> dict:
    return YAML(typ="safe", pure=True).load(path)


def script(stage: str) -> Path:
    return Path("stages") / f"{stage}.py"


def code_dependencies(stage: str) -> list[str]:
    """List a stage's script, the library modules it imports, directly or not, and their packages' data."""
    found: set[Path] = set()
    unread = {script(stage)}
    while unread:
        path = unread.pop()
        found.add(path)
        unread |= set(imported_modules(path)) - found - {DOOR}
    packages = {path.parent for path in found}
    found |= {path for path in data_files() if package_of(path) in packages}
    return sorted(map(str, found))


def imported_modules(path: Path) -> Iterator[Path]:
    """Yield the library files that a file imports, inside functions too, with the packages on the way."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
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
                    yield from (candidate for candidate in candidates if (ROOT / candidate).is_file())


def data_files() -> Iterator[Path]:
    """Yield the files of the library that are not Python, such as prompts."""
    for path in working_tree(ROOT, "src"):
        if path.suffix != ".py":
            yield path


def package_of(path: Path) -> Path:
    return next(folder for folder in path.parents if (ROOT / folder / "__init__.py").is_file())


def working_tree(root: Path, *folders: str) -> list[Path]:
    """List the files that Git has or would take, relative to `root`, uncommitted ones included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in sorted(set(listed.split("\0"))) if name and (root / name).is_file()]


def leaf_keys(params: dict, prefix: str = "") -> list[str]:
    """List the dotted keys of everything that is no section."""
    keys = []
    for key, value in params.items():
        keys += leaf_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def expand(names: set[str], leaves: list[str]) -> set[str]:
    """Replace each section among `names` by its leaf keys."""
    return {leaf for leaf in leaves if any(leaf == name or leaf.startswith(f"{name}.") for name in names)}


def params_read(stage: str, leaves: list[str]) -> set[str]:
    """Find the leaf keys that a stage's script uses: `params.a.b`, also by way of `name = params.a`.

    A section that is passed on as a whole counts with all its keys.
    """
    tree = ast.parse((ROOT / script(stage)).read_text(encoding="utf-8"))
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
                # What a function of the same script reads is found there.
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
    """Return the text of a dvc.yaml with every stage's code dependencies as they should be."""
    stages = YAML(typ="safe", pure=True).load(text)["stages"]
    lines = []
    stage, inside = "", False
    for line in text.splitlines():
        if inside and not line.startswith("      - "):
            inside = False
        if not inside:
            lines.append(line)
        if line.startswith("  ") and line.strip().removesuffix(":") in stages:
            stage = line.strip().removesuffix(":")
        elif line == "    deps:":
            inside = True
            lines += [f"      - {path}" for path in wanted_deps(stage, stages[stage]["deps"])]
    return "\n".join(lines) + "\n"


def wanted_deps(stage: str, deps: list[str]) -> list[str]:
    """Replace the code among a stage's deps by what it should be; data stays."""
    data = [path for path in deps if not path.startswith(("src/", "stages/"))]
    return sorted([*data, *code_dependencies(stage)])


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        DVC_YAML.write_text(with_code_dependencies(DVC_YAML.read_text(encoding="utf-8")), encoding="utf-8")
    for stage in read_yaml(DVC_YAML)["stages"]:
        print(f"{stage}:", *code_dependencies(stage), sep="\n      - ")
