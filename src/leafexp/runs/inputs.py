"""What a run starts from: its photos, and the checksum of its pretrained weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leafexp import names
from leafexp.runs.backend import import_tensorflow
from leafexp.settings.build import build

if TYPE_CHECKING:
    import pandas as pd

    from leafexp.data.dataset import Dataset
    from leafexp.data.external import External
    from leafexp.settings.schema import Config
    from leafexp.tracking.run import TrackedRun


@dataclass(frozen=True)
class Inputs:
    """What is known of a run's inputs before TensorFlow is imported.

    Attributes:
        catalog: the photos' table.
        photos: the same with each photo's SHA-256.
        external: the second test set, None without.
        weights: SHA-256 of the pretrained weights, None without.
    """

    catalog: "pd.DataFrame"
    photos: "pd.DataFrame"
    external: "External | None"
    weights: str | None


def read(config: "Config") -> Inputs:
    """The inputs; the first time on a machine, weights that `imagenet` stands for are loaded for their checksum."""
    from leafexp.data.pixels import checksums

    catalog = read_catalog(config)
    external = read_external(config, catalog)
    photos = catalog.assign(sha256=checksums(list(catalog["file"]))[0])
    return Inputs(catalog, photos, external, _weights_sha256(config, catalog["label"].nunique()))


def read_catalog(config: "Config") -> "pd.DataFrame":
    """The photos' table, without reading any of them."""
    from leafexp.data.catalog import of_classes

    data = config.data
    catalog: pd.DataFrame = build(data.source, path=data.path, group_pattern=data.group_pattern)
    return catalog if data.classes is None else of_classes(catalog, data.classes)


def prepare(config: "Config", catalog: "pd.DataFrame", run: "TrackedRun", tested: bool) -> "Dataset":
    """The photos read, split and tracked; test photos are held out where nothing is `tested`.

    Raises:
        UserError: a photo can't be used, or others were there in this sweep's earlier runs.
    """
    from leafexp.data import dataset as datasets

    data = config.data
    dataset = datasets.prepare(catalog, data, config.cache_bytes)
    if not tested:
        dataset = dataset.without_test()
    run.check_same_photos(str(config.sweep), names.flat(asdict(config)), dataset.table, dataset.data_hash)
    run.log_data(
        dataset.table,
        dataset.skipped,
        Path(data.path).stem if data.path else data.name,
        data.path or data.name,
        {
            names.DATA_HASH: dataset.data_hash,
            names.SPLIT_HASH: dataset.split_hash,
            names.TEST_HASH: dataset.test_hash,
        },
    )
    return dataset


def read_external(config: "Config", catalog: "pd.DataFrame") -> "External | None":
    """The second test set, without reading its pixels; None without."""
    data = config.data
    if data.external is None:
        return None
    from leafexp.data.external import read

    return read(data.external, data.external_labels, sorted(catalog["label"].unique()))


def _weights_sha256(config: "Config", num_classes: int) -> str | None:
    from leafexp.runs.identity import weights_sha256

    if config.model.weights is None:
        return None
    known = weights_sha256(config.model.weights, config.model.network, config.data.image_size)
    if known is None:
        import_tensorflow()
        from leafexp.runs.network import build_network

        source = build_network(config, num_classes).source
        return source.sha256 if source else None
    return known
