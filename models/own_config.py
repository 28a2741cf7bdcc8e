"""A person's own network as its source describes it, which is not run: the Snakefile must start fast."""

import ast
import hashlib
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROTOCOLS = ("window", "clip")
_ROOT = Path(__file__).resolve().parents[1]  # the repository


@dataclass(frozen=True)
class OwnConfig:
    """A class that maps (n, t, 3, h, w) to (n, t, 3, 4h, 4w), RGB in [0, 1], and how it is trained and run.

    `network` is `<file>.py:<class>`, relative to the repository, or `<module>:<class>`. `settings` are the
    keyword arguments of its `__init__`, which must have defaults of the same types. `protocol` is the class's
    attribute of that name, by default "window". `code` is the digest of the file, filled in unless given.

    Raises ValueError, in one line, for a class that is not there, settings that it does not take, and a file
    that is not the one of which `code` is the digest.
    """

    network: str
    num_frames: int = 5  # frames of a window; "clip": of a training window only
    feat_size: int = 64  # height and width in LQ pixels of a training crop and of a test tile
    settings: dict[str, Any] = field(default_factory=dict)
    protocol: str = ""
    code: str = ""

    def __post_init__(self) -> None:
        for key, minimum in (("num_frames", 1), ("feat_size", 8)):
            value = getattr(self, key)
            if type(value) is not int or value < minimum:
                raise ValueError(f"model.{key}: expected an integer of at least {minimum}, got {value!r}")
        tree = _parse(self.network)
        definition = _find_class(self.network, tree)
        _check_settings(self.network, definition, self.settings)
        protocol, code = _protocol(self.network, definition), _digest(tree)
        if self.code not in ("", code):
            raise ValueError(f"network {self.network}: has changed since; run the study again")
        if protocol == "window" and self.num_frames % 2 == 0:
            raise ValueError(
                f"model.num_frames: expected an odd number (windows are centred), got {self.num_frames}"
            )
        object.__setattr__(self, "protocol", protocol)
        object.__setattr__(self, "code", code)

    @property
    def num_feat(self) -> int:
        """The setting of that name, or 64: batches of tiles are sized by it."""
        value = self.settings.get("num_feat", 64)
        return value if type(value) is int else 64

    @property
    def patch_size(self) -> int:
        """Frames may have any size."""
        return 1

    @property
    def attention(self) -> str:
        """None that the figures know."""
        return "none"

    @property
    def flow_source(self) -> None:
        """No flow is trained or given for it; it may hold its own."""
        return None

    @property
    def flow_num_feat(self) -> int:
        """It has no flow network of the study's."""
        return 0

    @property
    def published_at(self) -> str | None:
        """Nowhere that could be known here."""
        return None

    @property
    def fixed_size(self) -> None:
        """Frames may have any size."""
        return None

    @property
    def operations(self) -> None:
        """Not known without running it."""
        return None

    @property
    def parameters(self) -> None:
        """Not known without running it."""
        return None


def source_of(network: str) -> tuple[Path, str]:
    """Split `<file>.py:<class>` or `<module>:<class>` into file and class; ValueError if there is no file."""
    place, _, name = network.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"network: expected <file>.py:<class> or <module>:<class>, got {network!r}")
    if place.endswith(".py"):
        path = _ROOT / place
    else:
        try:
            spec = find_spec(place)
        except (ImportError, ValueError):
            spec = None
        path = Path(spec.origin if spec and spec.origin else place)
    if not path.is_file():
        raise ValueError(f"network {network}: there is no {path}; correct the path")
    return path, name


def _parse(network: str) -> ast.Module:
    path, _ = source_of(network)
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ValueError(f"network {network}: line {error.lineno}: {error.msg}") from None


def _find_class(network: str, tree: ast.Module) -> ast.ClassDef:
    name = network.rpartition(":")[2]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    raise ValueError(f"network {network}: the file defines no class {name}")


def _check_settings(network: str, definition: ast.ClassDef, settings: dict[str, Any]) -> None:
    """Compare settings with the arguments of `__init__`, whose defaults are literals."""
    taken = _arguments(definition)
    for key, value in settings.items():
        if key not in taken:
            known = ", ".join(taken) or "none"
            raise ValueError(f"model.{key}: {network} takes no such setting; it takes {known}")
        if not _fits(value, taken[key]):
            kind = type(taken[key]).__name__
            raise ValueError(f"model.{key}: expected {kind} as the default {taken[key]!r}, got {value!r}")
    for key, default in taken.items():
        if default is _MISSING and key not in settings:
            raise ValueError(f"network {network}: __init__'s {key} needs a default value")


def _fits(value: Any, default: Any) -> bool:
    """Whether a setting has the type of its default; a whole number may stand for another number."""
    if default is None or default is _MISSING:
        return True
    return type(value) in ((int, float) if type(default) is float else (type(default),))


_MISSING = object()


def _arguments(definition: ast.ClassDef) -> dict[str, Any]:
    """List the arguments of `__init__` by name, with their defaults; _MISSING for one without."""
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)][1:]
            missing: list[Any] = [None] * (len(names) - len(node.args.defaults))
            pairs = [*zip(names, [*missing, *node.args.defaults], strict=True)]
            pairs += [
                (argument.arg, default)
                for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            ]
            return {
                name: _MISSING if default is None else ast.literal_eval(default) for name, default in pairs
            }
    return {}


def _protocol(network: str, definition: ast.ClassDef) -> str:
    for node in definition.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "protocol":
            value = ast.literal_eval(node.value)
            if value not in PROTOCOLS:
                known = ", ".join(PROTOCOLS)
                raise ValueError(f"network {network}: unknown protocol {value!r}; expected one of {known}")
            return str(value)
    return "window"


def _digest(tree: ast.Module) -> str:
    """Compute a digest (12 hex digits) that comments and formatting do not change."""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]
