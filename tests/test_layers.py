"""Imports inside the package only go down the layers of docs/architecture.md."""

import ast
from pathlib import Path

import beyond2d

PACKAGE = Path(beyond2d.__file__).parent
LAYERS = [
    {"__init__"},
    {"checks"},
    {"projection", "geometry", "baselines", "phantoms", "planning", "surfaces", "tiling", "candidates", "lungs"},
    {"consistency", "proportions"},
    {"writers"},
    {"readers", "transforms", "networks", "losses", "lean", "metrics", "agreement"},
    {"inferers", "handlers"},
    {"datasets", "ensembles", "inspection", "integrity", "packing", "plans", "report", "workflow"},
    {"commands"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    """The room of a module: its file's or its folder's name."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_rooms(path):
    """Every room of the package that a module imports from, and its other imports' top names."""
    depth = len(path.relative_to(PACKAGE).parts)
    rooms, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            rooms |= {name.split(".")[0] if name.split(".")[0] in LEVEL else "__init__" for name in names}
    return rooms, others


def test_every_module_is_in_a_layer():
    assert {room_of(path) for path in modules()} == set(LEVEL)


def test_imports_only_go_down():
    for path in modules():
        room = room_of(path)
        for other in imported_rooms(path)[0] - {room}:
            assert LEVEL[other] < LEVEL[room], f"{path.name} ({room}) must not import {other}"


def test_imports_inside_the_package_are_relative():
    for path in modules():
        assert "beyond2d" not in imported_rooms(path)[1], path


def test_fire_is_for_the_face_only():
    users = {room_of(path) for path in modules() if "fire" in imported_rooms(path)[1]}
    assert users == {"__main__"}


def test_the_maths_knows_neither_monai_nor_files():
    for path in modules():
        if LEVEL[room_of(path)] <= 2 and room_of(path) != "checks":
            assert not imported_rooms(path)[1] & {"monai", "nibabel", "pydicom", "pathlib", "os"}, path


def test_no_file_is_long():
    for path in modules():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
