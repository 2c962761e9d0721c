"""The structure: what each module may import, which module prints, what importing may do."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn.system import resources

PACKAGE = Path(charrnn.__file__).parent
# What the modules of each sub-package, and the modules outside of them, may import.
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "nn": set(),
    "system": {"errors"},
    "config": {"errors", "system"},
    "text": {"errors", "system"},
    "storage": {"errors", "system", "config", "text", "nn"},
    "inference": {"errors", "system", "text", "nn"},
    "analysis": {"errors", "system", "config", "text", "nn", "storage", "inference"},
    "training": {"errors", "system", "config", "text", "nn", "storage", "inference", "analysis"},
    "api": {"errors", "system", "config", "text", "nn", "storage", "inference", "analysis",
            "training"},
    "cli": {"errors", "system", "config", "text", "inference", "analysis", "training", "api"},
    "__main__": {"cli", "system"},
}
LAZY = {"errors", "inference", "api"}  # what charrnn offers, and imports when it is used
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
NAMES = {".".join(["charrnn", *module.parts]).removesuffix(".__init__") for module in MODULES}
each_module = pytest.mark.parametrize("module", MODULES, ids=str)


def tree(module):
    return ast.parse((PACKAGE / module).with_suffix(".py").read_text(encoding="utf-8"))


def sub_package(name):
    """The sub-package of a dotted name, or its module if it is outside of them."""
    return name.split(".")[1] if "." in name else "__init__"


def imported(module):
    """The dotted names that ``module`` imports from charrnn, also inside functions."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if (node.module or "").split(".")[0] == "charrnn":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    names.add(inner if inner in NAMES else node.module)
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names if a.name.split(".")[0] == "charrnn"}
    return names


def test_all_imports_are_found():
    assert "charrnn.text.cache" in imported(Path("text/corpus"))
    assert "charrnn.config.yaml_file" in imported(Path("cli/train")), "inside a function"
    assert "charrnn.text.vocabulary" in imported(Path("cli/console")), "for types alone"
    assert "charrnn.training.processes" in imported(Path("cli/train"))
    assert imported(Path("storage/metadata")) >= {"charrnn", "charrnn.errors"}


def test_every_module_is_in_a_sub_package_with_rules():
    assert {module.parts[0] for module in MODULES} == set(MAY_IMPORT)


@each_module
def test_a_module_imports_only_what_its_sub_package_may(module):
    own = module.parts[0]
    found = {sub_package(name) for name in imported(module) if name != "charrnn"}
    assert found - {own} <= (LAZY if module == Path("__init__") else MAY_IMPORT[own])
    if own == "nn":
        assert "charrnn" not in imported(module), "not even the version"


def test_what_charrnn_offers_is_imported_for_types_or_when_it_is_used():
    at_once = [node for node in tree("__init__").body if not isinstance(node, ast.FunctionDef)]
    (for_types,) = [node for node in at_once if isinstance(node, ast.If)]
    assert ast.unparse(for_types.test) == "TYPE_CHECKING"
    named = {alias.asname or alias.name for node in for_types.body for alias in node.names}
    assert named | {"__version__"} == set(charrnn.__all__)
    others = [node.module for node in at_once if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert others == ["__future__", "typing"]


@each_module
def test_only_training_through_the_api_needs_what_trains(module):
    """So sampling and scoring from Python start as fast as the commands do."""
    uses = any(sub_package(name) == "training" for name in imported(module))
    if module.parts[0] == "api":
        assert uses == (module.name in ("training", "bar"))


def test_there_are_no_import_cycles():
    imports = {name: set() for name in NAMES}
    for module in MODULES:
        name = ".".join(["charrnn", *module.parts]).removesuffix(".__init__")
        imports[name] = imported(module) - {"charrnn"}
    while imports:
        leaves = {name for name, needed in imports.items() if not needed & set(imports)}
        assert leaves, f"a cycle among {sorted(imports)}"
        imports = {name: needed for name, needed in imports.items() if name not in leaves}


@each_module
def test_only_the_console_and_the_bar_of_the_api_print(module):
    calls = [ast.unparse(node.func) for node in ast.walk(tree(module))
             if isinstance(node, ast.Call)]
    writing = [call for call in calls if re.fullmatch(
        r"print|(click\.)?echo|sys\.(stdout|stderr)\.(buffer\.)?write(lines)?|(self\.)?bar\.write|"
        r"tqdm\.write", call)]
    assert not writing or module in (Path("cli/console"), Path("api/bar"))


@each_module
def test_only_training_and_the_commands_see_the_config(module):
    names = {node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}
    names |= {alias.name for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom)
              for alias in node.names}
    assert "Config" not in names or module.parts[0] in ("config", "training", "cli")


@each_module
def test_a_name_is_imported_from_where_it_is_defined(module):
    """Otherwise a module could evade the import rules through another one."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("charrnn."):
            path = Path(*node.module.split(".")[1:])
            if (PACKAGE / path).is_dir():
                continue
            defined = {item.id for item in ast.walk(tree(path)) if isinstance(item, ast.Name)
                       and isinstance(item.ctx, ast.Store)}
            defined |= {item.name for item in tree(path).body if hasattr(item, "name")}
            assert {alias.name for alias in node.names} <= defined, node.module


@each_module
def test_modules_are_imported_only_by_import_statements(module):
    source = (PACKAGE / module).with_suffix(".py").read_text(encoding="utf-8")
    assert "__import__" not in source
    # text/files imports the standard library's module for a compressed format by name.
    assert "import_module" not in source or module == Path("text/files")


@each_module
def test_the_first_line_of_every_module_is_a_docstring(module):
    first = ast.get_docstring(tree(module)).splitlines()[0]
    assert len(first) > 15 and first.endswith((".", "?", ":"))


@pytest.mark.parametrize("module", [m for m in MODULES if m.name == "__init__" and m.parent.name],
                         ids=str)
def test_the_init_of_a_sub_package_is_a_docstring_alone(module):
    assert len(tree(module).body) == 1


@each_module
def test_no_module_is_much_longer_than_a_few_screens(module):
    assert len((PACKAGE / module).with_suffix(".py").read_text().splitlines()) <= 300


def test_the_tests_mirror_the_sub_packages():
    tests = Path(__file__).parent
    for path in tests.glob("*/test_*.py"):
        assert (PACKAGE / path.parent.name).is_dir(), path
    tested = {path.parent.name for path in tests.glob("*/test_*.py")}
    assert tested == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_the_wheel_contains_every_sub_package_and_every_data_file():
    setup = configparser.ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg")
    packages = setup["options"]["packages"].split()
    mapped = dict(line.split(" = ") for line in setup["options"]["package_dir"].split("\n")[1:])
    assert mapped == {"charrnn.presets": "configs", "charrnn.texts": "corpora"}
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {".".join(folder.relative_to(PACKAGE.parent).parts) for folder in folders} == (
        set(packages) - set(mapped))
    data = dict(setup["options.package_data"])
    assert [data.pop(name) for name in mapped] == ["*.yaml", resources.example().name]
    listed = {PACKAGE.parent.joinpath(*package.split("."), name.strip())
              for package, names in data.items() for name in names.split(",")}
    others = {path for path in PACKAGE.rglob("*") if path.is_file()
              and path.suffix not in (".py", ".pyc")}
    assert listed == others


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("sub_package", ["config", "system", "text.display"])
def test_modules_that_need_no_numpy_do_not_import_it(sub_package):
    names = [name for name in NAMES if f"{name}.".startswith(f"charrnn.{sub_package}.")]
    code = f"import sys, {', '.join(names)}; print('numpy' in sys.modules)"
    assert run(code).strip() == "False"


def test_the_help_is_shown_without_numpy_tqdm_or_yaml():
    code = "import sys, charrnn.cli.main; print({'numpy', 'tqdm', 'yaml'} & set(sys.modules))"
    assert run(code).strip() == "set()"


def test_importing_charrnn_imports_no_other_module_of_it_and_no_package():
    code = ("import sys, charrnn; print([name for name in sys.modules if name.split('.')[0] in "
            "('charrnn', 'numpy', 'tqdm', 'yaml', 'click')])")
    assert run(code).strip() == "['charrnn']"


def test_sampling_imports_nothing_that_only_other_commands_need():
    code = ("import sys, charrnn.api.loaded, charrnn.api.model; "
            "print([name for name in sys.modules if name.startswith("
            "('charrnn.training', 'charrnn.analysis', 'charrnn.inference.scoring', "
            "'charrnn.inference.dynamic', 'concurrent.futures.thread', 'tqdm', 'yaml'))])")
    assert run(code).strip() == "[]"


def test_the_console_entry_point_is_the_module_that_handles_early_interrupts():
    setup = configparser.ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].split("\n")
    assert scripts[1:] == ["charrnn = charrnn.__main__:main"]
    code = "import sys, charrnn.__main__; print({'click', 'charrnn.cli'} & set(sys.modules))"
    assert run(code).strip() == "set()"


def test_importing_everything_changes_no_environment_and_no_signal_handler():
    modules = ", ".join(sorted(NAMES))
    code = (
        "import os, signal; before = dict(os.environ), signal.getsignal(signal.SIGINT);"
        f"import {modules};"
        "print(before == (dict(os.environ), signal.getsignal(signal.SIGINT)))"
    )
    assert run(code).strip() == "True"
