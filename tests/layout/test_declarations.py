"""Every ``.pxd`` file declares what the ``.py`` file beside it has; and a difference is found."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.layout.declarations import differences, parse
from tests.layout.modules import PACKAGE, SOURCE

# The others declare C functions: of a library, which a .pyx calls, and of Python.
DECLARATIONS = sorted(path for path in (SOURCE / PACKAGE).rglob("*.pxd") if path.with_suffix(".py").exists())

SOURCE_TEXT = """
    _cache: dict[bytes, int] = {}

    class Base:
        __slots__ = ("first",)

    class Pair(Base):
        __slots__ = ("_left", "right")

        def join(self, size: int, by: str = "") -> str:
            text = by
            return text

        async def wait(self) -> None: ...

    class Plain(Base):
        def __init__(self) -> None:
            self.first = self.second = 1

    def split(text: str, *, at: int) -> None: ...

    def find(text, at): ...
    """
PXD = '''
    """C types of a pair."""

    cimport cython
    from sidegate.other cimport Other

    cdef dict _cache  # a comment

    cdef class Pair

    cdef class Base:
        cdef public int first

    cdef class Pair(Base):
        cdef double[::1] _left
        cdef readonly long long right

        @cython.locals(text=str, size=Py_ssize_t)
        cpdef str join(self, int size,
                       str by=*)

    cdef class Plain(Base):
        cdef object second

    cdef bint find(bytes text, Py_ssize_t at) except -1
    '''


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda path: str(path.relative_to(SOURCE / PACKAGE)))
def test_a_declaration_agrees_with_its_source(path: Path) -> None:
    elsewhere = {name: scope for other in DECLARATIONS for name, scope in parse(other.read_text())[1].items()}
    assert differences(path.read_text(), path.with_suffix(".py").read_text(), elsewhere) == []


def test_no_class_has_the_name_of_another() -> None:
    names = [name for path in DECLARATIONS for name in parse(path.read_text())[1]]
    assert len(names) == len(set(names)), "base classes are found by name"


def test_what_agrees_has_no_differences() -> None:
    assert different() == []


@pytest.mark.parametrize(
    ("declared", "instead", "difference"),
    [
        ("cdef dict _cache", "cdef dict _cash", "_cash is no variable of the module"),
        ("class Plain(Base):", "class Plane(Base):", "there is no class Plane"),
        ("class Plain(Base):", "class Plain:", "Plain has the bases ['Base'], declared are []"),
        ("double[::1] _left", "double[::1] _up", "Pair._left is not declared"),
        ("double[::1] _left", "double[::1] _up", "Pair has no attribute _up"),
        ("cdef object second", "pass", "Plain.second is not declared"),
        ("str join(", "str joined(", "there is no function Pair.joined (async functions cannot be declared)"),
        ("str join(", "str wait(", "there is no function Pair.wait (async functions cannot be declared)"),
        ("int size", "int length", "Pair.join has the parameters ['self', 'size', 'by=*'], declared are"),
        ("by=*", "by", "'size', 'by=*'], declared are ['self', 'size', 'by']"),
        ("text=str", "word=str", "Pair.join has no local name word"),
        ("bint find(bytes text, Py_ssize_t at)", "split(text, at)", "split has the parameters ['text', '*at'],"),
        ("Py_ssize_t at)", "Py_ssize_t at, more)", "find has the parameters ['text', 'at'], declared are"),
    ],
)  # fmt: skip
def test_a_difference_is_found(declared: str, instead: str, difference: str) -> None:
    assert declared in PXD
    assert any(difference in found for found in different(declared, instead))


def test_a_line_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(ValueError, match="not understood: ctypedef int number"):
        parse("ctypedef int number\n")


def different(declared: str = "", instead: str = "") -> list[str]:
    return differences(textwrap.dedent(PXD).replace(declared, instead, 1), textwrap.dedent(SOURCE_TEXT))
