"""Where a tracking store is and whether it can be reached: what writing and reading it have in common.

An address may hold secrets, and they stay in this process: an address is shown as `shown` gives it, and a text that may
contain one as `scrubbed` does.
"""

import base64
import os
import re
import socket
from pathlib import Path
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from leafexp.errors import UserError

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
_CONNECT_SECONDS = 5.0
_POSSIBLE = (
    "Possible are sqlite:///FOLDER/mlflow.db, http://SERVER:PORT, https://SERVER, "
    "postgresql+psycopg://SERVER/NAME and mysql+pymysql://SERVER/NAME."
)
_HOST = r"(?:[\w.%-]*|\[[\w.:%]+\])(?::\d+)?"
_ADDRESS = re.compile(rf"([\w+.-]+)://(?:([^/?#]*)@)?({_HOST}(?:,{_HOST})*)(/[^@?#]*)?([?#][^@]*)?")
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^\s/@'\"]+@")
_HIDDEN = "***"
_SHORTEST_SECRET = 4  # characters; a shorter one is in too many words to be taken out of a text
# What a database's address may have in its query that is no secret.
_OPEN_SETTINGS = re.compile(
    "sslmode|ssl_ca|sslrootcert|(connect_|read_|write_)?timeout|charset|host|port|application_name|options|cache|mode|uri"
)
_CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_ADDRESSES = ("MLFLOW_TRACKING_URI", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def default_uri() -> str | None:
    """The environment's MLFLOW_TRACKING_URI, None where it is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store, None for another."""
    if not uri.startswith("sqlite"):
        return None
    return Path(unquote(uri.partition(":///")[2].partition("?")[0])).absolute()


def usable(uri: str) -> str:
    """The address as it is to be used: an SQLite file's path absolute, the name and password for a server taken out.

    MLflow reads those of a server from the environment too. There they are in no message, link or page.

    Raises:
        UserError: runs can't be kept at such an address.
    """
    _check_usable(uri)
    if file := sqlite_file(uri):
        scheme, _, rest = uri.partition(":///")
        return f"{scheme}:///{quote(file.as_posix(), safe='/:')}{''.join(rest.partition('?')[1:])}"
    parts = urlsplit(uri)
    if parts.scheme.startswith("http") and parts.username and parts.password:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return uri


def _check_usable(uri: str) -> None:
    scheme, separator, rest = uri.partition("://")
    kind = scheme.partition("+")[0]
    address = f"The tracking store's address {shown(uri)}"
    if not separator or kind not in ("sqlite", *_PORTS):
        raise UserError(f"{address} is none that leafexp can use. {_POSSIBLE}")
    if kind == "sqlite":
        if not rest.strip("/").partition("?")[0] or ":memory:" in rest or "mode=memory" in rest:
            raise UserError(
                f"{address} names no file, so every run would be lost. Expected sqlite:///FOLDER/mlflow.db."
            )
        if not rest.startswith("/") or rest.startswith("/file:"):
            raise UserError(f"{address} can't be read. Expected sqlite:///FOLDER/mlflow.db, with three slashes.")
        return
    unreadable = f"{address} can't be read. In a password, @ is written %40, / %2F, : %3A, ? %3F and # %23."
    if not _ADDRESS.fullmatch(uri):
        raise UserError(unreadable)
    if "," in uri.partition("://")[2].rpartition("@")[2].partition("/")[0]:
        several = f", or {scheme}://USER@/NAME?host=ONE:PORT&host=TWO:PORT" if kind == "postgresql" else ""
        raise UserError(f"{address} names several servers. Expected one{several}.")
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UserError(unreadable) from None
    if kind.startswith("http"):
        if not host:
            raise UserError(f"{address} names no server. Expected http://SERVER:PORT.")
        if parts.query or parts.fragment:
            raise UserError(
                f"{address} goes on with ? or #, which MLflow can't send. A token belongs into the environment "
                "variable MLFLOW_TRACKING_TOKEN; in a password, ? is written %3F and # %23."
            )
    elif not host and not parts.query and not parts.path.strip("/"):
        raise UserError(f"{address} names no server. Expected {scheme}://SERVER/NAME.")


def check_no_file_store(folder: Path) -> None:
    """Raise UserError where `folder` or its mlruns/ is a store of MLflow before 3."""
    for store in (folder, folder / "mlruns"):
        if any(meta.parent.name.isdigit() for meta in store.glob("*/meta.yaml")):
            raise UserError(
                f"{store} is an old MLflow file store, which MLflow no longer reads; move it away, or\n"
                f"convert it: mlflow migrate-filestore --source {store} --target sqlite:///mlflow.db"
            )


def check_answers(uri: str) -> None:
    """Raise UserError where nothing listens at a server's or database's address; at once, not after MLflow's tries."""
    parts = urlsplit(uri)
    if not parts.hostname:
        return
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0], 80)
    asked = f"The tracking server {parts.hostname}:{port}"
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname):
        through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if not through.hostname or through.scheme.startswith("socks"):
            return
        asked = f"{asked} is asked through the proxy {through.hostname}, and that"
        host, port = through.hostname, through.port or 80
        advice = f" For no proxy: NO_PROXY={parts.hostname}."
    else:
        host, advice = parts.hostname, ""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"{asked} does not answer: {error}.{advice}") from None


def shown(uri: str) -> str:
    """The address as it may be shown: without a user's name, a password and what follows a question mark."""
    if uri.startswith("sqlite:///"):
        return f"{uri.partition('?')[0]}?{_HIDDEN}" if "?" in uri else uri
    read = _ADDRESS.fullmatch(uri)
    if read is None:  # who knows what part of it is a password
        scheme, separator, _ = uri.partition("://")
        if separator:
            return f"{scheme}://{_HIDDEN}"
        return scrubbed(uri) if re.fullmatch(r"[\w.:+/\\ -]*", uri) else _HIDDEN
    scheme, user, host, path, query = read.groups()
    user = f"{_HIDDEN}@" if user is not None else ""
    return f"{scheme}://{user}{host}{path or ''}{query[0] + _HIDDEN if query else ''}"


def link(uri: str) -> str:
    """A server's address as a link can hold it: without a user's name, a password and what follows a question mark."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


def scrubbed(text: str, *addresses: str) -> str:
    """The text without the secrets of this process's environment and of the given addresses.

    Of other addresses the name and the password are taken out, whoever wrote them.
    """
    found = [os.environ.get(name, "") for name in _CREDENTIALS]
    for address in (*addresses, *(os.environ.get(name, "") for name in _ADDRESSES)):
        found += _secrets(address)
    forms = {form for secret in found for form in _written(secret) if len(form) >= _SHORTEST_SECRET}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, _HIDDEN)
    return _USER_IN_ADDRESS.sub(f"{_HIDDEN}@", text)


def _secrets(address: str) -> list[str]:
    """What may be a secret in an address, read generously: a password may hold characters that end it elsewhere."""
    scheme, _, rest = address.partition("://")
    if scheme.startswith("sqlite"):
        user, password = "", ""
    else:
        user, _, password = rest.rpartition("@")[0].partition(":")
    found = [password, *re.split("[@/?#]", password)]
    if password:
        found.append(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
    elif scheme.startswith("http"):
        found.append(user)  # a token alone
    settings = parse_qsl(rest.rpartition("?")[2], keep_blank_values=True) if "?" in rest else []
    return found + [value for name, value in settings if not _OPEN_SETTINGS.fullmatch(name.lower())]


def _written(secret: str) -> set[str]:
    """A secret as an address, a header and a traceback may write it."""
    plain = unquote(secret)
    return {secret, plain, quote(plain, safe=""), quote(plain), quote_plus(plain), repr(plain)[1:-1]}
