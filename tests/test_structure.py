"""The shape of the package: who may import whom, one door a dependency, nothing printed inside."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import imgindex

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "imgindex"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Imports point down only: a room may import rooms of the lines below its own. Rooms of one line
# never import each other.
LAYERS = (
    {"cli"},
    {"web"},
    {"__init__"},
    {"library"},
    {"copied", "grouped", "held", "queried", "seen", "shown", "watching"},
    {"indexing", "searching", "results", "exporting", "mapping", "deduplicating", "tidying"}
    | {"seeing", "moving", "repairing"},
    {"telling", "asking", "copies", "bursts"},
    {"decisions"},
    {"regrouping"},
    {"distributed"},
    {"readings"},
    {"resources", "quantizing"},
    {"models", "insight"},
    {"inner", "isolation"},
    {"scan", "absent", "manifests", "pixels", "weights", "vgg16", "foreign", "download", "embed"}
    | {"grouping", "export", "store", "ahead", "pages", "fetch", "duplicates", "reranking"},
    {"precision", "choosing", "addresses"},
    {"graph"},
    {"records", "config", "formats"},
    {"errors"},
)

DOORS = {
    "onnxruntime": {"embed"},
    "openvino": {"embed/openvino"},
    "onnx": {"graph", "vgg16", "foreign", "precision", "inner"},
    "PIL": {"pixels"},
    "pi_heif": {"pixels"},
    "rawpy": {"pixels"},
    "pathspec": {"choosing"},
    "watchfiles": {"watching"},
    "sqlite3": {
        *("store/local", "store/database", "store/seals", "store/salvage"),
        *("store/files", "store/groupings", "store/twins"),
    }
    | {"store/filters", "store/view", "store/pictures"},
    "hnswlib": {"store/hnsw", "duplicates/candidates"},
    "cv2": {"duplicates", "pixels/heat"},
    "filelock": {"store/disk", "store/local"},
    "pymilvus": {"store/milvus/server"},
    "ray": {"distributed"},
    "pyarrow": {"distributed", "manifests"},
    "fsspec": {"addresses"},
    "hdbscan": {"grouping/condensed_tree", "grouping/coordinates"},
    "sklearn": {"grouping/coordinates"},
    "numba": {"grouping/compiled"},
    "scipy": {"grouping/neighbourhood"},
    "h5py": {"weights/keras_file"},
    "httpx": {"download", "fetch"},
    "platformdirs": {"config"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "pydantic": {"web"},
    "uvicorn": {"web"},
    "orjson": {"web"},
    "limits": {"web"},
    "structlog": {"web"},
    "prometheus_client": {"web"},
    "typer": {"cli"},
    "rich": {"cli"},
    "textual_image": {"cli"},
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imported(path: Path) -> set[str]:
    """Absolute dotted names of everything a module imports, lazily and for types included."""
    here = ["imgindex", *path.relative_to(PACKAGE).with_suffix("").parts]
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.level == 0 else here[: -node.level]
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    rooms = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "imgindex":
            continue
        known = {module.stem for module in PACKAGE.glob("*.py")} | {
            folder.name for folder in PACKAGE.iterdir() if folder.is_dir()
        }
        rooms.add(parts[1] if len(parts) > 1 and parts[1] in known else "__init__")
    return rooms - {room_of(path)}


def level(room: str) -> int:
    return next(at for at, rooms in enumerate(LAYERS) if room in rooms)


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in MODULES} == set().union(*LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    up = {other for other in rooms_imported(path) if level(other) <= level(room)}
    assert not up, f"{name_of(path)} imports {up}"


def test_no_cycles_inside_a_package() -> None:
    for folder in (path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()):
        inside = {path.stem: path for path in folder.glob("*.py") if path.stem != "__init__"}
        prefix = f"imgindex.{folder.name}."
        arrows = {
            stem: {
                name.removeprefix(prefix).split(".")[0]
                for name in imported(path)
                if name.startswith(prefix)
            }
            & (inside.keys() - {stem})
            for stem, path in inside.items()
        }
        while arrows:
            leaves = {stem for stem, targets in arrows.items() if not targets & arrows.keys()}
            assert leaves, f"{folder.name}: a cycle among {sorted(arrows)}"
            for leaf in leaves:
                del arrows[leaf]


@pytest.mark.parametrize("dependency", DOORS)
def test_one_door_a_dependency(dependency: str) -> None:
    users = {
        name_of(path)
        for path in MODULES
        if any(name.split(".")[0] == dependency for name in imported(path))
    }
    doors = DOORS[dependency]
    assert users, f"{dependency} is not used"
    assert all(user in doors or user.split("/")[0] in doors for user in users), users


def test_dependencies_are_declared_and_used() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["openvino"] + extras["raw"] + extras["milvus"]
    lines += extras["ray"]
    declared = {re.split(r"[\[<>=; ]", line)[0].lower() for line in lines}
    packages = {"PIL": "pillow", "pi_heif": "pi-heif", "textual_image": "textual-image"}
    packages |= {"prometheus_client": "prometheus-client"}
    packages |= {"sklearn": "scikit-learn", "cv2": "opencv-python-headless"}
    used = {packages.get(name, name) for name in DOORS} - {"sqlite3"}
    by_name = {"httptools", "uvloop", "python-multipart"}  # uvicorn and FastAPI load them
    with_another = {"pydantic", "starlette"}  # FastAPI is made of them
    assert declared == (used - with_another) | by_name | {"numpy", "onnxruntime-gpu"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_printed_and_nobody_exits_inside(path: Path) -> None:
    if room_of(path) == "cli":
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Name):
            assert node.id not in {"print", "exit", "quit"}, f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            assert called not in {"sys.exit", "sys.stdout", "sys.stderr", "os._exit"}, node.lineno


def test_nothing_is_unpickled_outside_the_restricted_reader() -> None:
    users = {
        name_of(path)
        for path in MODULES
        if {name.split(".")[0] for name in imported(path)} & {"pickle", "marshal", "shelve"}
    }
    assert all(user.startswith("weights/") for user in users), users


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_of_a_size_to_read(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 500
    assert path.stem not in {"utils", "helpers", "common", "misc"}


def test_exports_exist_and_are_documented() -> None:
    for name in imgindex.__all__:
        assert getattr(imgindex, name).__doc__, name
    members = {
        name: member
        for part in imgindex.Library.__mro__[:-1]
        for name, member in vars(part).items()
    }
    for name, member in members.items():
        if not name.startswith("_"):
            assert member.__doc__, f"Library.{name}"


def test_errors_form_one_tree_drawn_in_their_docstring() -> None:
    from imgindex import errors

    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    drawn = set(re.findall(r"\b[A-Z]\w+Error\b", errors.__doc__ or ""))
    assert classes == drawn
    assert all(issubclass(getattr(errors, name), errors.ImgindexError) for name in classes)


def test_top_level_is_what_was_agreed() -> None:
    import subprocess

    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked}
    rooms = {"imgindex", "models", "scripts", "tests", "pyproject.toml", "README.md", "LICENSE"}
    assert {name for name in top if not name.startswith(".")} == rooms


def test_versions_are_pinned_with_hashes_and_name_no_host() -> None:
    text = (ROOT / "scripts/constraints.txt").read_text("utf-8")
    assert "://" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "==" in entry, entry
        assert "--hash=sha256:" in entry, entry
