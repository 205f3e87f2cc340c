"""Where the configuration lies, and where runs leave what they make."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]
IN_CHECKOUT = (_CHECKOUT / "conf" / "config.yaml").is_file() and (_CHECKOUT / "pyproject.toml").is_file()
CODE = _CHECKOUT if IN_CHECKOUT else _PACKAGE
CONF_DIR = CODE / "conf"
# mlflow.db, mlruns/, outputs/, data/ and reports/ lie in the checkout; for an installed wheel, or a checkout that can
# only be read, where it is used.
ROOT = _CHECKOUT if IN_CHECKOUT and os.access(_CHECKOUT, os.W_OK) else Path.cwd()


def cache_folder() -> Path:
    """Where weights, decoded photos and features lie, for all projects of the user: in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leafexp"
