"""Hydra's command line: values in its grammar, and the address of the store, which Hydra never gets."""

import re
import shlex
from typing import Any

from leafexp import stores
from leafexp.errors import UserError

_UNQUOTED = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_/.][\w/.+-]*", re.IGNORECASE | re.ASCII)


def written(value: Any) -> str:
    """The value in Hydra's grammar, which gives it back: in quotes where it holds what has a meaning there.

    Args:
        value: None, a truth value, a number, a text, or a list or dictionary of these.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{','.join(map(written, value))}]"
        case dict():
            return f"{{{','.join(f'{written(key)}:{written(item)}' for key, item in value.items())}}}"
        case str() if not _UNQUOTED.fullmatch(value):
            # Backslashes count as such unless a quote follows.
            quoted = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
            return f"'{quoted}'"
    return str(value)


def without_address(arguments: list[str]) -> tuple[list[str], str | None]:
    """The command line without `tracking.uri=ADDRESS`, and the address: read here, as it may hold any characters.

    Other values that Hydra's grammar has no letters for, such as a folder's name with accents, are put into quotes.

    Raises:
        UserError: there is an address elsewhere, which Hydra would print or write.
    """
    kept, found = [], None
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = key.lstrip("+~")
        if key == "tracking.uri" and equals:
            found = _address(value)
        elif (
            (key == "tracking" and "uri" in value)
            or (key.startswith("hydra.job.env_set") and "MLFLOW_" in argument)
            or (key.rpartition(".")[2] in ("uri", "url") and "@" in value)
        ):
            raise UserError(f"{key} can't set where runs are kept: use tracking.uri=URI, or MLFLOW_TRACKING_URI.")
        elif ("://" in argument or not key.startswith("data.")) and stores.scrubbed(argument) != argument:
            raise UserError(
                f"{stores.scrubbed(argument)} holds what may be a password. "
                "Where runs are kept is set by tracking.uri=URI, or MLFLOW_TRACKING_URI."
            )
        else:
            kept.append(f"{argument.partition('=')[0]}={_quoted(value)}" if equals else argument)
    return kept, found


def _quoted(value: str) -> str:
    """A value that holds other than ASCII, or ends in blanks, in quotes; one that uses the grammar's signs as it is."""
    if (value.isascii() and value == value.strip()) or set(value) & set("'\"[]{}()"):
        return value
    return ",".join(map(written, value.split(",")))


def _address(value: str) -> str | None:
    """An address as it was typed, with or without quotes of its own, or made from the environment: ${oc.env:NAME}."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if "${" in value:
        try:
            value = str(OmegaConf.create({"uri": value}).uri)
        except OmegaConfBaseException as error:
            raise UserError(f"tracking.uri: {str(error).splitlines()[0]}") from None
    if value.count("://") > 1:
        raise UserError("tracking.uri takes one address: a sweep is kept in one store.")
    return None if value in ("", "null") else value


def scrubbed_command(command: str) -> str:
    """A command of ours as any version wrote it down, without an address that may be secret.

    The command works without it where MLFLOW_TRACKING_URI is set.
    """
    if "uri" not in command and stores.scrubbed(command) == command:
        return command
    try:
        words = shlex.split(command)
    except ValueError:  # cut off
        return stores.scrubbed(command.partition("tracking.uri=")[0].rstrip(" '"))
    kept = []
    for word in words:
        key, _, value = word.partition("=")
        address = value.strip("'\"")
        if key.lstrip("+~") != "tracking.uri" or stores.shown(address) == address:
            kept.append(stores.scrubbed(word))
    return command if kept == words else shlex.join(kept)
