"""The register of the project's text: plain technical English, as CONTRIBUTING.md asks for.

Measured are docstrings, comments, names of functions and classes, and messages in Python sources, and all text of other
files. The word list is a floor, not the goal: text that passes may still be hard to read.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Words per 1 000 words. People are "who" now and then; sockets and pods are not.
MAX_WORDS = 2.0
# Docstrings that begin with "What …", "Whether …", in percent.
MAX_CLAUSES = 2.0

TREES = ("app", "operator", "tests", "charts", "k8s", "images", "tools", ".github", ".", "docs")

ARCHAIC = frozenset({
    "anew", "anybody", "begets", "begot", "beside", "besides", "ere", "everybody", "hear", "heard", "hearing", "hears",
    "hence", "hereby", "herein", "lest", "mend", "mended", "mending", "mends", "nobody", "nought", "shall", "somebody",
    "tell", "telling", "tells", "thereby", "therein", "thereof", "thus", "told", "upon", "whatever", "whence",
    "whereby", "wherein", "whichever", "who", "whoever", "whom", "whomever", "whose",
})  # fmt: skip
CLAUSE = re.compile(r"(?:how|what|when|where|whether|which|who|whom|whose|why)\b", re.IGNORECASE)
WORD = re.compile(r"[A-Za-z']+")
SUFFIXES = {".md", ".py", ".tpl", ".yaml", ".yml"}
# Folders of generated YAML, whose text is measured at its source.
GENERATED = {"crd", "golden", "golden-overlays"}
# Values, not words: `nobody` is a user of Debian, and names of code are judged where they are defined.
CODE = re.compile(r"``[^`]+``|`[^`\n]+`|https?://\S+")


@dataclass
class Measurement:
    """The words and docstrings of a tree, and the lines that count against it."""

    words: int = 0
    archaic: list[str] = field(default_factory=list)
    docstrings: int = 0
    clauses: list[str] = field(default_factory=list)

    @property
    def words_rate(self) -> float:
        """Archaic words per 1 000 words."""
        return 1000 * len(self.archaic) / max(1, self.words)

    @property
    def clauses_rate(self) -> float:
        """Docstrings that start with a wh-clause, in percent."""
        return 100 * len(self.clauses) / max(1, self.docstrings)

    def add_text(self, place: str, text: str) -> None:
        words = WORD.findall(CODE.sub(" ", text).lower())
        self.words += len(words)
        self.archaic += [f"{place}: {word}: {' '.join(text.split())[:160]}" for word in words if word in ARCHAIC]

    def add_docstring(self, place: str, text: str) -> None:
        self.docstrings += 1
        if CLAUSE.match(text):
            self.clauses.append(f"{place}: {text.splitlines()[0]}")


def measure(*paths: Path) -> Measurement:
    measurement = Measurement()
    for path in paths:
        place = str(path.relative_to(ROOT))
        if path.suffix == ".py":
            measure_python(place, path.read_text(), measurement)
        else:
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                measurement.add_text(f"{place}:{number}", line)
    return measurement


def measure_python(place: str, source: str, measurement: Measurement) -> None:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            measurement.add_text(f"{place}:{token.start[0]}", token.string)
    for node in ast.walk(ast.parse(source)):
        # One word alone is a key or a value; docstrings are constants too.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            measurement.add_text(f"{place}:{node.lineno}", node.value)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            measurement.add_text(f"{place}:{node.lineno}", node.name.replace("_", " "))
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            docstring = ast.get_docstring(node)
            if docstring:
                measurement.add_docstring(f"{place}:{getattr(node, 'lineno', 1)}", docstring)


def sources(tree: str) -> Iterator[Path]:
    """Yield the files of a tree; ``.`` is the top level without its folders and without the history of changes."""
    if tree == ".":
        yield from (ROOT / name for name in ("Makefile", "Dockerfile", "pyproject.toml", "skaffold.yaml", ".ci/run"))
        yield from (path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md")
        return
    for path in sorted((ROOT / tree).rglob("*")):
        if path.suffix in SUFFIXES and path != Path(__file__) and not GENERATED & set(path.parts):
            yield path


@pytest.mark.parametrize("tree", TREES)
def test_text_is_plain_technical_english(tree: str) -> None:
    found = measure(*sources(tree))
    assert found.words > 300
    archaic, clauses = "\n".join(found.archaic), "\n".join(found.clauses)
    assert found.words_rate <= MAX_WORDS, f"{found.words_rate:.2f} archaic words per 1 000 in {tree}/:\n{archaic}"
    assert found.clauses_rate <= MAX_CLAUSES, f"{found.clauses_rate:.2f} % wh-clauses in {tree}/:\n{clauses}"


def test_archaic_text_is_found() -> None:
    found = Measurement()
    source = '''
def nobody_knows() -> str:
    """Whom the server tells; see ``nobody`` and `told`."""
    return f"pods {1} that were told"  # begun anew
'''
    measure_python("x.py", source, found)
    assert sorted(line.split(": ")[1] for line in found.archaic) == ["anew", "nobody", "tells", "told", "whom"]
    assert found.archaic[0].startswith("x.py:4: anew")
    assert found.clauses == ["x.py:2: Whom the server tells; see ``nobody`` and `told`."]
    assert (found.docstrings, found.clauses_rate) == (1, 100)


def test_occasional_who_for_people_is_allowed() -> None:
    found = Measurement()
    found.add_text("a.md:1", "operators who upgrade the service " + "read this page first " * 125)
    assert 0 < found.words_rate <= MAX_WORDS
