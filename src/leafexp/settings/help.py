"""The text of `--help`, read from conf/ without Hydra, which would take a second to list its groups."""

from pathlib import Path

_USAGE = """\
Train and compare networks on leaf photos; every run is tracked in MLflow.

  python -m leafexp.train -m model=cnn,mnv2 freeze=frozen,unfrozen,partial   every combination (-m)
  python -m leafexp.train model=mnv2 freeze=partial data=folder data.path=DIR   your photos, a folder per class
  python -m leafexp.train experiment=report128                               a named study
  python -m leafexp.train freeze=partial --cfg job                           show a run's configuration
  python scripts/report.py                                                   the comparison of the last sweep
"""


def help_text(conf_dir: Path) -> str:
    """Usage, every group with its options and their first comment, and every key of the default configuration."""
    groups = []
    for folder in sorted(folder for folder in conf_dir.iterdir() if folder.is_dir()):
        options = sorted(folder.glob("*.yaml"))
        width = max(len(option.stem) for option in options)
        groups.append(f"  {folder.name}=")
        groups += [f"    {option.stem:<{width}}  {_description(option)}" for option in options]
    text = (conf_dir / "config.yaml").read_text()
    defaults, _, keys = text.partition("\n\n")
    keys = keys.partition("\nhydra:")[0]
    for group in ("model", "freeze", "optimizer", "data"):
        option = next(line.split()[2] for line in defaults.splitlines() if line.startswith(f"  - {group}:"))
        path = conf_dir / group / f"{option}.yaml"
        body = "\n".join(f"  {line}" for line in path.read_text().splitlines() if not line.startswith("#"))
        keys += f"\n{group}:  # with {group}={option}\n{body}\n"
    shown = "\n".join(f"  {line}".rstrip() for line in keys.splitlines())
    return (
        f"{_USAGE}\nGroups, chosen with group=option:\n" + "\n".join(groups) + "\n\n"
        f"Keys, set with key=value (optimizer.learning_rate=0.0003; several values after -m: seed=0,1,2):\n{shown}\n\n"
        "Flags: -m run every combination; --cfg job show the configuration; --config-dir DIR add your own YAML files;\n"
        "--info Hydra's view; --hydra-help more of them."
    )


def _description(option: Path) -> str:
    lines = (line for line in option.read_text().splitlines() if not line.startswith("# @"))
    return next(lines).removeprefix("# ")
