"""What a ``.pxd`` file declares, and where that differs from the ``.py`` file beside it.

Cython reports some of the differences, but only when it compiles. It accepts others (an attribute that no
``__slots__`` has), or they show only at run time (a default that only one side has).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

CLASS = re.compile(r"cdef class (\w+)(?:\((\w+)\))?(:?)$")
FUNCTION = re.compile(r"cp?def [^(]*?(\w+)\((.*)\)(?: except -\d+)?$")
VARIABLE = re.compile(r"cdef (?:public |readonly )?[\w.]+(?: \w+)?(?:\[::1\])? (\w+)$")
LOCALS = re.compile(r"@cython\.locals\((.*)\)$")
PARAMETER = re.compile(r"(?:.* )?(\w+)(=\*)?$")
IGNORED = re.compile(r"cimport |from [\w.]+ cimport |pass$")

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Function:
    """A ``cdef`` or ``cpdef`` function or method: its parameters, with ``=*`` where one has a default."""

    parameters: list[str]
    local_names: list[str]


@dataclass
class Scope:
    """The names that a class or the module itself declares."""

    bases: list[str] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)
    functions: dict[str, Function] = field(default_factory=dict)


def differences(pxd: str, source: str, elsewhere: Mapping[str, Scope] | None = None) -> list[str]:
    """Every difference as a sentence; empty if the two agree. ``elsewhere``: the classes of other ``.pxd`` files."""
    tree = ast.parse(source)
    module, declared = parse(pxd)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found = [
        *(f"{name} is no variable of the module" for name in sorted(module.variables - stored(tree))),
        *function_differences("", module, tree.body),
    ]
    for name, scope in declared.items():
        if name not in classes:
            found.append(f"there is no class {name}")
        else:
            inherited = inherited_variables(scope, {**(elsewhere or {}), **declared})
            found.extend(class_differences(name, scope, classes[name], inherited))
    return found


def inherited_variables(scope: Scope, classes: Mapping[str, Scope]) -> set[str]:
    """What the base classes of a class declare, and theirs."""
    bases = [classes[base] for base in scope.bases if base in classes]
    return {name for base in bases for name in base.variables | inherited_variables(base, classes)}


def class_differences(name: str, scope: Scope, node: ast.ClassDef, inherited: set[str]) -> Iterator[str]:
    """Bases, attributes and methods of one class."""
    bases = [ast.unparse(base) for base in node.bases]
    if bases != scope.bases:
        yield f"{name} has the bases {bases}, declared are {scope.bases}"
    attributes = attributes_of(node)
    yield from (f"{name}.{attribute} is not declared" for attribute in sorted(attributes - scope.variables - inherited))
    yield from (f"{name} has no attribute {attribute}" for attribute in sorted(scope.variables - attributes))
    yield from function_differences(f"{name}.", scope, node.body)


def function_differences(prefix: str, scope: Scope, body: list[ast.stmt]) -> Iterator[str]:
    """Parameters and local names of the functions that one scope declares."""
    definitions = {node.name: node for node in body if isinstance(node, Definition)}
    for name, function in scope.functions.items():
        node = definitions.get(name)
        if not isinstance(node, ast.FunctionDef):
            yield f"there is no function {prefix}{name} (async functions cannot be declared)"
            continue
        if parameters_of(node) != function.parameters:
            yield f"{prefix}{name} has the parameters {parameters_of(node)}, declared are {function.parameters}"
        known = stored(node) | {argument.arg for argument in node.args.args}
        yield from (f"{prefix}{name} has no local name {local}" for local in function.local_names if local not in known)


def attributes_of(node: ast.ClassDef) -> set[str]:
    """The names in ``__slots__``; of a class without them, what it annotates or its methods assign to ``self``."""
    for statement in node.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if ast.unparse(target) == "__slots__":
                return set(ast.literal_eval(statement.value))
    assigned = (child for child in ast.walk(node) if isinstance(child, ast.Attribute))
    stored = {
        child.attr for child in assigned if isinstance(child.ctx, ast.Store) and ast.unparse(child.value) == "self"
    }
    annotated = [one for one in node.body if isinstance(one, ast.AnnAssign) and one.value is None]
    return stored | {ast.unparse(one.target) for one in annotated}


def parameters_of(node: ast.FunctionDef) -> list[str]:
    """As in a declaration. ``*name`` and ``**name`` keep their stars, which no declaration has."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    names = [f"{argument.arg}{'=*' if n >= first_default else ''}" for n, argument in enumerate(positional)]
    starred = [f"*{argument.arg}" for argument in (arguments.vararg, *arguments.kwonlyargs) if argument]
    return names + starred + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


def stored(tree: ast.AST) -> set[str]:
    """Every name that is assigned to anywhere in there."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def parse(pxd: str) -> tuple[Scope, dict[str, Scope]]:
    """What the module declares and what each of its classes does. ValueError for a line of no known form."""
    module, classes = Scope(), dict[str, Scope]()
    scope, local_names = module, list[str]()
    for indented, line in logical_lines(pxd):
        if not indented:
            scope = module
        if match := CLASS.fullmatch(line):
            name, base, defined = match.groups()
            if defined:
                scope = classes[name] = Scope([base] if base else [])
            else:
                classes.setdefault(name, Scope())  # announced: the definition follows
        elif match := LOCALS.fullmatch(line):
            local_names = [name.partition("=")[0].strip() for name in match[1].split(",")]
        elif match := FUNCTION.fullmatch(line):
            scope.functions[match[1]] = Function(parameters_in(match[2]), local_names)
            local_names = []
        elif match := VARIABLE.fullmatch(line):
            scope.variables.add(match[1])
        elif not IGNORED.match(line):
            raise ValueError(f"not understood: {line}")
    return module, classes


def parameters_in(text: str) -> list[str]:
    """``self, int size=*`` -> ``["self", "size=*"]``."""
    matches = [PARAMETER.fullmatch(part.strip()) for part in text.split(",") if part.strip()]
    if None in matches:
        raise ValueError(f"not understood: {text}")
    return ["".join(part or "" for part in match.groups()) for match in matches if match]


def logical_lines(pxd: str) -> Iterator[tuple[bool, str]]:
    """Each statement in one line, and whether it is indented; no comments, no docstring."""
    text = re.sub(r"#[^\n]*", "", re.sub(r'"""[^"]*"""', "", pxd))
    text = re.sub(r"\(([^()]*)\)", lambda match: f"({' '.join(match[1].split())})", text)
    for line in text.splitlines():
        if line.strip():
            yield line.startswith(" "), " ".join(line.split())
