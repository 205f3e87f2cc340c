"""What a `_target_` of the configuration may name, and `build`, which calls it."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from leafexp.errors import UserError, did_you_mean, first_line

# Where what a `_target_` names must be defined. Anything else would run code that a shared YAML brings along.
FUNCTIONS = ("leafexp.models.", "leafexp.data.catalog.")
OPTIMIZERS = ("keras.optimizers.", "leafexp.training.optimizer.")


def build(node: dict[str, Any], **arguments: Any) -> Any:
    """What the node's `_target_` returns, called with the node's values and `arguments`.

    Raises:
        UserError: the target is not a function of `leafexp.models` or `leafexp.data.catalog` and not an optimizer of
            Keras or leafexp, the node has a target inside, or the target does not take one of the values.
    """
    target = str(node.get("_target_"))
    builder = _builder(target)
    values = {name: value for name, value in node.items() if name != "_target_"}
    if inside := next(_special_keys(values), None):
        raise UserError(f"{target}: {inside} is not allowed inside. Only plain values are; got {node!r}.")
    parameters = inspect.signature(builder).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in {*values, *arguments}:
            if name not in parameters:
                raise UserError(f"{target} takes no {name!r}. {did_you_mean(name, parameters)}")
    try:
        return builder(**values, **arguments)
    except (ValueError, TypeError) as error:
        raise UserError(f"{target}: {first_line(error)}") from error


def _builder(target: str) -> Callable[..., Any]:
    """The function or optimizer class that `target` names."""
    # A quarter of a second that --help need not wait for.
    from hydra.utils import get_object

    refused = UserError(
        f"_target_ must name a function of {' or '.join(place.rstrip('.') for place in FUNCTIONS)}, or an optimizer of "
        f"{' or '.join(place.rstrip('.') for place in OPTIMIZERS)}; got {target!r}."
    )
    # Looked at first, as importing a module runs it.
    if not target.startswith(FUNCTIONS + OPTIMIZERS):
        raise refused
    try:
        found = get_object(target)
    except ImportError as error:
        raise UserError(f"_target_ {target!r} can't be imported: {str(error).splitlines()[-1]}") from None
    if inspect.isclass(found):
        import keras

        # Keras defines its optimizers in keras.src.
        if issubclass(found, keras.Optimizer) and found.__module__.startswith(("keras.", OPTIMIZERS[1].rstrip("."))):
            return found
    # A module's imports can be reached through it: keras, NumPy, os.
    elif inspect.isfunction(found) and f"{found.__module__}.{found.__name__}" == target:
        return found
    raise refused


def _special_keys(value: Any) -> Iterator[str]:
    """Keys by which Hydra would build an object, at any depth."""
    if isinstance(value, dict):
        yield from (key for key in value if key in ("_target_", "_partial_", "_args_", "_recursive_", "_convert_"))
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _special_keys(item)
