"""The audit of a data set before any training: `python -m leafexp.audit data=folder data.path=PHOTOS`."""

import base64
import io
import json
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafexp import stores
from leafexp.audit.findings import facts, leaks, remarks
from leafexp.data.spelling import printable
from leafexp.environment import begin_command, check_environment
from leafexp.errors import UserError
from leafexp.overrides import without_address, written
from leafexp.paths import ROOT
from leafexp.wording import counted

if TYPE_CHECKING:
    import numpy as np

    from leafexp.data.dataset import Dataset

_USAGE = """python -m leafexp.audit [OVERRIDE ...]: what the photos give away before anything is trained on them.

The overrides are those of leafexp.train: data=folder data.path=PHOTOS, data.group_pattern=..., data.groups=...
Writes reports/audit/DATA/audit.html, audit.json and pairs.csv; where the split leaks (see data.audit; exit code 1) also
clean.csv: the same photos without the training copies of what is tested, and prints the command that trains on it."""

# What clean.csv holds in place of the overrides.
_IN_TABLE = (
    "tracking.",
    "data=",
    "data.name=",
    "data.path=",
    "data.source.",
    "data.group",
    "data.classes=",
    "data.audit=",
)


def main() -> int:
    """Print the findings and write them; 0, 1 where the split leaks and data.audit is `error`, 2 after a message."""
    begin_command()
    overrides = sys.argv[1:]
    if {"-h", "--help"} & set(overrides):
        print(_USAGE)
        return 0
    from leafexp.settings.compose import check

    try:
        overrides, _ = without_address(overrides)
        _check_one_value(overrides)
        config = check(overrides)
        check_environment()
        from leafexp.audit import probes
        from leafexp.data import dataset
        from leafexp.runs.inputs import read_catalog

        data = config.data
        photos = dataset.prepare(read_catalog(config), data, config.cache_bytes)
        found = probes.audit(photos)
        folder = _write(photos, found)
        print(_text(found))
        said = "".join(f"{line}\n" for line in remarks(found))
        print(f"{said}Wrote {printable(str(folder / 'audit.html'))}")
        if leaks(found):
            print(
                _write_clean(photos, found["to_leave_out"], folder / "clean.csv", overrides)
                if data.folds is None
                else "Each copy is tested in some fold: keep copies in one with data.groups=near_duplicates."
            )
        if data.audit == "error":
            try:
                probes.check(found)
            except UserError as error:
                print(stores.scrubbed(str(error)), file=sys.stderr)
                return 1
    except UserError as error:
        print(stores.scrubbed(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _check_one_value(overrides: list[str]) -> None:
    from leafexp.settings.compose import swept_keys

    if flags := [word for word in overrides if word.startswith("-")]:
        raise UserError(f"The audit takes overrides only, such as data=folder data.path=PHOTOS; it got {flags[0]}.")
    if keys := swept_keys(overrides):
        raise UserError(
            f"The audit takes one value of {keys[0]}, not several. A value with a comma needs quotes: "
            f"\"{keys[0]}='a,b'\"."
        )


def _text(found: dict[str, Any]) -> str:
    from tabulate import tabulate

    lines = [(what, textwrap.fill(said, 90)) for what, said in facts(found)]
    return str(tabulate(lines, tablefmt="plain", disable_numparse=True)) + "\n"


def _write(photos: "Dataset", found: dict[str, Any]) -> Path:
    import pandas as pd
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder = ROOT / "reports" / "audit" / photos.data_hash[:12]
    rows = {path: row for row, path in enumerate(photos.table["path"])}
    pairs = [
        {**pair, **{side: _jpeg(photos.pixels[rows[pair[side]]]) for side in ("path", "other_path")}, "names": pair}
        for pair in found["pairs"]
    ]
    template = Environment(
        loader=PackageLoader("leafexp.audit", "."), autoescape=True, undefined=StrictUndefined
    ).get_template("audit.html.j2")
    page = template.render(facts=facts(found), remarks=remarks(found), pairs=pairs, data_hash=photos.data_hash)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "audit.html").write_text(page, encoding="utf-8")
        (folder / "audit.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        pd.DataFrame(found["pairs"]).to_csv(folder / "pairs.csv", index=False)
    except OSError as error:
        raise UserError(f"Can't write the audit to {folder}: {error.strerror}.") from None
    return folder


def _write_clean(photos: "Dataset", left_out: list[str], file: Path, overrides: list[str]) -> str:
    """Write the photos but for those `left_out`, each in the part it is in now; returns what to do with the file."""
    from leafexp.data.spelling import SPLITS
    from leafexp.data.splits import UNUSED

    table = photos.table.assign(split=photos.table["split"].replace(UNUSED, "train"))
    kept = table[~table["path"].isin(left_out)]
    for part in SPLITS:
        if gone := sorted(set(table["label"]) - set(kept.loc[kept["split"] == part, "label"])):
            return f"Without the copies there would be no {part} photos of {', '.join(gone)}: no clean.csv was written."
    listed = kept[["label", "group", "split"]]
    # Absolute, so that the table may lie anywhere.
    listed.insert(0, "path", [printable(str(path)) for path in kept["file"]])
    try:
        listed.to_csv(file, index=False)
    except OSError as error:
        raise UserError(f"Can't write {file}: {error.strerror}.") from None
    counts = table.loc[table["path"].isin(left_out), "split"].value_counts()
    fewer = " and ".join(counted(number, f"{part} photo") for part, number in counts.items())
    copies = "copies of tested ones or of their leaves" if counts.sum() > 1 else "a copy of a tested one or of its leaf"
    same = [word for word in overrides if not word.startswith(_IN_TABLE)]
    if not any(word.startswith("data.image_size=") for word in same):
        same.append(f"data.image_size={photos.pixels.shape[1]}")
    words = ["python", "-m", "leafexp.train", "data=table", f"data.path={written(str(file))}", *same]
    return (
        f"Wrote {printable(str(file))}: {len(kept)} of the {len(table)} photos, without {fewer}: {copies}. "
        f"To train on it:\n  {shlex.join(words)}"
    )


def _jpeg(pixels: "np.ndarray") -> str:
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.array(pixels)).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    sys.exit(main())
