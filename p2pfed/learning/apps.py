"""Find the learner that a spec names: `digits:mlp`, `my_file.py:learner`, `flower:my_app.client_app:app`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from p2pfed.learning.extras import missing
from p2pfed.learning.learner import AppContext, Learner, LearnerError

FLOWER = "flower:"  # Before the name of a module and its ClientApp: `flower:my_app.client_app:app`.
_METHODS = ("weights", "train", "evaluate")


def split_spec(spec: str) -> tuple[str, str]:
    """Return the file or data set and the name behind the last colon of `spec`.

    Raises:
        LearnerError: `spec` has no colon or nothing on one side of it.
    """
    source, colon, name = spec.rpartition(":")
    if not (colon and source and name):
        raise LearnerError(f"{spec!r} names no learner; write digits:mlp, or my_file.py:learner for your own")
    return source, name


def load_learner(spec: str, context: AppContext) -> Learner:
    """Return the learner that `spec` names. A user's file runs here, so call this in a worker only.

    Raises:
        LearnerError: Unknown name, missing file, attribute or extra, or a thing without the three methods.
            What the user's own code raises passes through.
    """
    try:
        return _load(spec, context)
    except ModuleNotFoundError as error:
        raise missing(error) or error from None


def _load(spec: str, context: AppContext) -> Learner:
    source, name = split_spec(spec)
    if source.startswith(FLOWER):
        from p2pfed.learning.adapters.flower import load_flower

        return load_flower(source.removeprefix(FLOWER), name, context)
    if not source.endswith(".py"):
        # Imported here so that a user's own model never pays for the shipped ones.
        from p2pfed.learning.builtin import builtin_learner

        return builtin_learner(source, name, context)
    return made(_attribute(Path(source), name), context, f"{name} in {source}")


def made(found: object, context: AppContext, where: str) -> Learner:
    """Return the learner that `found` is or makes of the context; `where` names it in errors.

    Raises:
        LearnerError: It is neither a learner nor gives one.
    """
    if isinstance(found, type) or not _is_learner(found):
        if not callable(found):
            raise LearnerError(f"{where} is neither a learner nor a function that returns one")
        found = found(context)
    if not _is_learner(found):
        missing = [method for method in _METHODS if not callable(getattr(found, method, None))]
        raise LearnerError(f"{where} gave {type(found).__name__} without {', '.join(missing)}()")
    return found  # type: ignore[return-value]


def _is_learner(found: object) -> bool:
    return all(callable(getattr(found, method, None)) for method in _METHODS)


def _attribute(path: Path, name: str) -> object:
    if not path.is_file():
        raise LearnerError(f"no file {path}; --app takes a path, from the folder where the peer was started")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # So that the file's neighbours can be imported, as when it is run.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # Dataclasses and pickling inside user code look their module up here.
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        offered = sorted(entry for entry in vars(module) if not entry.startswith("_"))
        raise LearnerError(f"{path} has no {name}; it has {', '.join(offered) or 'nothing'}")
    found: object = getattr(module, name)
    return found
