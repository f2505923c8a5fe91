"""The house rules that code can check: who imports whom, what lies where, and that each file has its test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Layer -> the layers it may import, itself included. `genopred/__init__.py` only names what others define.
MAY_IMPORT = {
    "errors": {"errors"},
    "files": {"files", "errors"},
    "types": {"types", "errors"},
    "provenance": {"provenance"},
    "resume": {"resume", "provenance", "files", "errors"},
    "workers": {"workers"},
    "builds": {"builds", "types", "errors"},
    "align": {"align", "builds", "types", "errors"},
    "align_snps": {"align_snps", "align", "types", "errors"},
    "io": {"io", "types", "files", "errors"},
    "genetics": {"genetics", "types", "errors"},
    "sequence": {"sequence", "types", "files", "errors"},
    "attribution": {"attribution", "sequence", "types", "files", "errors"},
    "training": {"training", "settings", "types", "files", "errors"},
    "learning": {"learning", "genetics", "types", "errors"},
    "report": {"report", "types", "files", "provenance", "errors"},
    "settings": {"settings", "errors"},
    "pipelines": {
        "pipelines",
        "settings",
        "io",
        "builds",
        "align",
        "align_snps",
        "genetics",
        "sequence",
        "attribution",
        "training",
        "learning",
        "report",
        "types",
        "files",
        "provenance",
        "resume",
        "workers",
        "errors",
    },
    "cli": {"cli", "settings", "pipelines", "report", "types", "files", "provenance", "errors"},
}

#: Single modules beside that: one Pearson; what a network is made of and written as; how many cores.
ALSO = {
    "sequence": {"genopred.genetics.correlation"},
    "report": {"genopred.genetics.correlation"},
    "training": {
        "genopred.genetics.correlation",
        "genopred.sequence.haplotypes",
        "genopred.sequence.models.bodies",
        "genopred.sequence.models.tuned",
        "genopred.sequence.onehot",
        "genopred.sequence.models.base",
        "genopred.sequence.models.config",
        "genopred.sequence.models.enformer.checkpoint",
        "genopred.workers",
    },
}

#: Single imports against the direction, inside a function, and why.
EXCEPT = {
    (
        "genopred.sequence.models.trained",
        "genopred.training.store",
    ): "opens what was trained: a network's class is needed",
    (
        "genopred.sequence.models.bodies",
        "genopred.training.store",
    ): "the same, where such a network was tuned",
}

#: Libraries that are imported inside functions, so that `genopred --help` answers at once.
HEAVY = {
    "torch",
    "xgboost",
    "lightgbm",
    "matplotlib",
    "enformer_pytorch",
    "transformers",
    "einops",
    "safetensors",
    "h5py",
    "pyBigWig",
    "pandas",
    "pandas_plink",
    "peft",
    "statsmodels",
    "jinja2",
    "cooler",
    "optuna",
    "inmoose",
    "captum",
    "tangermeme",
    "memelite",
}

#: Where one of them may stand at the top of a file: what has it there is itself imported inside functions.
AT_TOP = {
    "genopred.training": {"torch"},
    "genopred.sequence.models": {"torch", "enformer_pytorch"},
    "genopred.attribution": {"torch"},
}

#: Workflows that have torch at their top, in what they import there.
TORCH_WORKFLOWS = (
    "train", "train_inputs", "evaluate", "evaluate_genes", "evaluate_genes_inputs", "train_genes", "train_genes_inputs",
    "train_expression", "train_search",
    "attribute", "attribute_inputs", "attribute_windows", "attribute_against", "train_personal",
    "train_personal_inputs",
)  # fmt: skip

#: Source files without a test file of their own, and why.
WITHOUT_TEST = {
    "genopred/__init__.py": "names only; tests/test_architecture.py resolves them",
    "cli/__main__.py": "one call",
    "genopred/genetics/ld_kernels.py": "tests/test_genetics_ld.py calls them through ld.py",
    "genopred/genetics/scores_kernels.py": "tests/test_genetics_scores.py calls them through scores.py",
    "genopred/genetics/shrinkage_kernels.py": "tests/test_genetics_shrinkage.py calls it through shrinkage.py",
    "genopred/genetics/finemap_kernels.py": "tests/test_genetics_finemap.py calls it through finemap.py",
    "pipelines/train_genes_inputs.py": "tests/test_pipelines_train_genes.py, which reads all through train_genes.py",
    "genopred/learning/elasticnet_kernels.py": "tests/test_learning_elasticnet.py calls them through elasticnet.py",
    "genopred/learning/covariance_kernels.py": "tests/test_learning_covariance.py calls them through covariance.py",
}

#: Functions of over 80 lines or 10 parameters, pipelines of over 350 lines, and why. Compiled kernels may be long.
LONG = {
    "genopred.align.match": "plink's filters, one parameter each; users call it by these names",
    "genopred.genetics.eqtl.signals.independent_signals": "the arrays of one gene, its names, how a scan is made",
    "genopred.genetics.simulate.simulate_cohort": "what may be chosen of a cohort; users call it by these names",
    "genopred.sequence.effects.snp_effects": "which gene, how windows lie, how SNPs and model are handled; documented",
}

TOP_LEVEL = {
    ".ci",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "cli",
    "constraints.txt",
    "docs",
    "genopred",
    "notebooks",
    "pipelines",
    "pyproject.toml",
    "ruff.toml",
    "setup.cfg",
    "tests",
}


@cache
def sources() -> dict[str, Path]:
    """Module name -> file, for everything that is installed."""
    found = {}
    for folder, package in (("genopred", "genopred"), ("cli", "genopred.cli"), ("pipelines", "genopred.pipelines")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = path
    return found


@cache
def tracked() -> list[Path]:
    """Files under version control; everything but caches where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0 or not listed.stdout:
        pytest.skip("not a git checkout: what belongs to the project cannot be told from what lies about")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def imports(module: str, path: Path, *, top_only: bool = False) -> Iterator[tuple[str, int]]:
    """(imported module, line) of a file, relative imports made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in top_level(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{source}.{alias.name}"
                yield (full if full in sources() else source), node.lineno


def top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements that run at import: no function bodies, nothing under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from top_level(node)


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("name", [name for name in sources() if name != "genopred"])
def test_imports_go_one_way(name):
    wrong = [
        f"{sources()[name].relative_to(ROOT)}:{line} imports {imported}"
        for imported, line in imports(name, sources()[name])
        if imported.startswith("genopred.")
        and layer(imported) not in MAY_IMPORT[layer(name)]
        and imported not in ALSO.get(layer(name), ())
        and (name, imported) not in EXCEPT
    ]
    assert not wrong, f"{layer(name)} may import {sorted(MAY_IMPORT[layer(name)])}"


def test_files_are_written_in_one_place():
    """Whole or not at all, under one kind of temporary name, which the next run after a kill removes."""
    words = {"mkstemp", "NamedTemporaryFile", "savefig", "save_file"}
    found = set()
    for name, path in sources().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called, of = node.func.attr, ast.unparse(node.func.value)
            # str.replace has two arguments, polars' follows an expression; Path.replace has one, and follows a name
            moved = called in ("replace", "rename") and len(node.args) == 1 and isinstance(node.func.value, ast.Name)
            if called in words or moved or (called == "replace" and of == "os"):
                found.add((name, f"{of}.{called}"))
    # the figure goes into memory
    writing = {("genopred.files", "tempfile.mkstemp"), ("genopred.files", "os.replace")}
    assert found == writing | {("genopred.report.figures", "figure.savefig")}


def test_layers_are_all_named():
    assert {layer(name) for name in sources() if name != "genopred"} == set(MAY_IMPORT)


def test_no_import_cycle():
    graph = {
        name: {imported for imported, _ in imports(name, path, top_only=True) if imported in sources()} - {name}
        for name, path in sources().items()
        if not path.name == "__init__.py"
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name in graph and name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", list(sources()))
def test_heavy_libraries_are_imported_where_they_are_used(name):
    path = sources()[name]
    heavy = HEAVY.difference(*(known for room, known in AT_TOP.items() if name.startswith(room)))
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported} at its top"
        for imported, line in imports(name, path, top_only=True)
        if imported.partition(".")[0] in heavy
    ]
    assert not wrong


def test_the_core_does_without_torch():
    """What has torch at its top, itself or through its imports there, is where `AT_TOP` or `TORCH_WORKFLOWS` says."""
    graph = {name: {to for to, _ in imports(name, path, top_only=True)} for name, path in sources().items()}
    reach = {name for name, to in graph.items() if any(other.partition(".")[0] == "torch" for other in to)}
    while more := {name for name, to in graph.items() if to & reach} - reach:
        reach |= more
    workflows = {name for name in reach if layer(name) == "pipelines"}
    assert [name for name in reach - workflows if not name.startswith(tuple(AT_TOP))] == []
    assert workflows == {f"genopred.pipelines.{name}" for name in TORCH_WORKFLOWS}


def test_exceptions_are_imports_inside_functions():
    for (name, imported), why in EXCEPT.items():
        assert why and imported in {to for to, _ in imports(name, sources()[name])}
        assert imported not in {to for to, _ in imports(name, sources()[name], top_only=True)}


@pytest.mark.parametrize("statement", ["import genopred", "from genopred.cli import main"])
def test_nothing_heavy_is_loaded_before_it_is_needed(statement):
    code = f"{statement}; import sys; print(*sorted({HEAVY | {'polars', 'sklearn', 'numba'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "tests")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == []


def test_every_file_has_one_purpose():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert [str(path) for path in sources().values() if path.stem in vague or path.parent.name in vague] == []


def test_top_level_is_fixed():
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} - TOP_LEVEL == set()


def expected_test(path: Path) -> str:
    if path.parent == ROOT / "genopred" / "settings" and path.stem != "declare":
        return "test_settings.py"  # it walks the options of all workflows
    parts = path.relative_to(ROOT).with_suffix("").parts
    inner = parts[1:] if parts[0] == "genopred" else parts
    return "_".join(["test", *(part for part in inner if part != "__init__")]) + ".py"


def test_every_source_file_has_a_test_file():
    missing = []
    for path in sources().values():
        empty = not any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)
        short = path.relative_to(ROOT).as_posix()
        if not empty and short not in WITHOUT_TEST and not (ROOT / "tests" / expected_test(path)).is_file():
            missing.append(f"{short}: tests/{expected_test(path)}")
    assert not missing
    assert [name for name in WITHOUT_TEST if not (ROOT / name).is_file()] == []


def test_the_page_names_every_file():
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in sources().values():
        if path.parent.name != "cli" and not path.name.startswith("__"):
            assert re.search(rf"\b{path.name}\b", page), f"docs/ARCHITECTURE.md does not name {path.relative_to(ROOT)}"


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [path.name for path in tracked() if path.parent == ROOT / "docs" and path.suffix == ".md"]
    assert [name for name in pages if f"({name})" not in index and name != "index.md"] == []


def test_no_machine_path_and_no_registry():
    pattern = re.compile(
        rb"(?<![\w.$])/(?:home|Users|root|work|tmp/\w+)/\w|pypi\.org|files\.pythonhosted|download\.pytorch\.org"
    )
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:8000] or path.suffix in (".gz", ".bed", ".pgen", ".h5"):
            continue
        found += [f"{path.relative_to(ROOT)}: {hit.group().decode()}" for hit in pattern.finditer(data)]
    assert not found


def test_public_names():
    import genopred

    for_type_checkers = {
        alias.name
        for node in ast.walk(ast.parse((ROOT / "genopred" / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genopred.")
        for alias in node.names
    }
    assert for_type_checkers == set(genopred.__all__) - {"__version__"}
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in genopred.__all__:
        public = getattr(genopred, name)
        assert f"`{name}`" in page, f"docs/api.md does not name {name}"
        if not name.startswith("__"):
            assert public.__doc__, f"{name} has no docstring"
    assert set(genopred.__all__) <= set(dir(genopred))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        genopred.nothing  # noqa: B018


def test_files_are_not_too_long():
    """A file that does not fit in a head should be two."""
    long = {name: len(path.read_text().splitlines()) for name, path in sources().items()}
    assert {name: lines for name, lines in long.items() if lines > 1000} == {}


def kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Compiled by numba, which knows neither dataclasses nor cheap calls."""
    return any("numba." in ast.unparse(decorator) for decorator in node.decorator_list)


def long_ones() -> Iterator[str]:
    """Pipelines of over 350 lines; functions of over 80 lines besides their docstring, or 10 parameters."""
    for name, path in sources().items():
        text = path.read_text(encoding="utf-8")
        if layer(name) == "pipelines" and len(text.splitlines()) > 350:
            yield name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not kernel(node):
                said = node.body[0] if ast.get_docstring(node) is not None else None
                lines = node.end_lineno - node.lineno + 1
                lines -= said.end_lineno - said.lineno + 1 if said is not None else 0
                given = node.args
                every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
                if lines > 80 or sum(one is not None for one in every) > 10:
                    yield f"{name}.{node.name}"


def test_functions_and_pipelines_are_not_too_long():
    """Exceptions have their reason in `LONG`; one that is no longer long leaves it."""
    found = set(long_ones())
    assert sorted(found - set(LONG)) == []
    assert [name for name, why in LONG.items() if why != "being split" and name not in found] == []
