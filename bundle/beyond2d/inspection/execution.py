"""Lists what running a bundle would execute: its expressions, the modules they import, the classes they make.

Running a bundle is running code: MONAI evaluates every string that begins with `$`, calls whatever `_target_` names,
and imports the bundle's own modules. The list is read from the files; what the listed code calls in turn is not seen.
"""

from __future__ import annotations

import ast
import builtins
import configparser
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ComponentLocator, ConfigParser
from monai.bundle.utils import EXPR_KEY, ID_REF_KEY, MACRO_KEY, MERGE_KEY

from .configs import values_in

# Files that are code, or that run code when they are loaded.
CODE_ENDINGS = (".py", ".pyc", ".so", ".pyd", ".dll", ".sh", ".ts", ".pkl", ".pickle", ".joblib")
IMPORTING = ("__import__", "import_module", "optional_import")
REFERENCE = re.compile(r"@\w*(?:(?:#|::)\w*)*")
REFERRING = (EXPR_KEY, ID_REF_KEY, MACRO_KEY)
LOGGING = "configs/logging.conf"
LOGGING_OPTIONS = ("class", "args", "kwargs")


class Execution(NamedTuple):
    """What running a bundle would execute.

    Expressions and targets are with the places where they stand, modules with where they come from, and files are
    those of the bundle that are code.
    """

    expressions: Mapping[str, list[str]]
    targets: Mapping[str, list[str]]
    modules: Mapping[str, str]
    files: list[str]


def execution_of(files: Mapping[str, Path], configs: Mapping[str, Any]) -> Execution:
    """The list for a bundle's files and the configs that could be read, both by their path in the bundle."""
    expressions: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    locator = ComponentLocator()
    for name, config in configs.items():
        for place, value in values_in(config):
            where = f"{name}: {place}"
            if not isinstance(value, str):
                continue
            if place.rpartition("#")[2].lstrip(MERGE_KEY) == "_target_" and value[:1] not in REFERRING:
                targets.setdefault(_full_name(value, locator), []).append(where)
            elif _is_executed(value):
                expressions.setdefault(value, []).append(where)
    for place, value in _logging_expressions(files):
        expressions.setdefault(value, []).append(place)
    modules = sorted({*_imports(expressions), *(target.split(".")[0] for target in targets)})
    code = [name for name in files if name.lower().endswith(CODE_ENDINGS)]
    return Execution(expressions, targets, {module: _origin(module, files) for module in modules}, code)


def _is_executed(text: str) -> bool:
    """An expression, or a macro that brings in another file with what that holds."""
    is_macro = text.startswith(MACRO_KEY) and bool(ConfigParser.split_path_id(text[len(MACRO_KEY) :])[0])
    return text.startswith(EXPR_KEY) or is_macro


def _imports(expressions: Iterable[str]) -> Iterator[str]:
    """The top modules that expressions import, by a statement or by a function that is given a name."""
    for text in expressions:
        try:
            tree = ast.parse(REFERENCE.sub("reference", text.removeprefix(EXPR_KEY)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # no Python: MONAI cannot run it either
        for node in ast.walk(tree):
            yield from (name.partition(".")[0] for name in _imported(node) if name)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return [str(node.args[0].value)] if function in IMPORTING else []
    return []


def _full_name(target: str, locator: ComponentLocator) -> str:
    """What MONAI makes of a target: a name of its own, else what Python finds under it."""
    known = locator.get_component_module_name(target)
    if known:
        return f"{known if isinstance(known, str) else known[0]}.{target}"
    return f"builtins.{target}" if hasattr(builtins, target.split(".")[0]) else target


def _origin(module: str, files: Mapping[str, Path]) -> str:
    """Where a top module would come from; a bundle's own comes before an installed one of the same name."""
    if any(name == f"{module}.py" or name.startswith(f"{module}/") for name in files):
        return "in the bundle"
    found = module in sys.modules or (module.isidentifier() and importlib.util.find_spec(module))
    return "installed" if found else "not installed here"


def _logging_expressions(files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Place and text of what Python's logging evaluates of the file that MONAI hands it."""
    if LOGGING not in files:
        return
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(files[LOGGING].read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError):
        return  # logging cannot read it either, and evaluates nothing
    for section in parser.sections():
        for option in LOGGING_OPTIONS:
            if parser.has_option(section, option):
                yield f"{LOGGING}: {section}#{option}", parser.get(section, option)
