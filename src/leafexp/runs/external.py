"""What is tracked of a run on a second test set: photos from elsewhere."""

import keras

from leafexp import names
from leafexp.audit.overlap import overlap
from leafexp.data import external as data
from leafexp.data.dataset import Dataset
from leafexp.data.duplicates import EXACT
from leafexp.notes import note
from leafexp.settings.schema import Config
from leafexp.tracking import pictures
from leafexp.tracking.run import TrackedRun
from leafexp.training import evaluation
from leafexp.wording import counted


def prepared(run: TrackedRun, external: data.External, dataset: Dataset, config: Config) -> Dataset:
    """The photos from elsewhere as pixels; tracks which they are, and which of them the network may have learned."""
    photos = data.prepare(external, dataset, config.data, config.cache_bytes)
    run.log_tags({names.EXTERNAL: external.name, names.EXTERNAL_HASH: photos.data_hash})
    run.log_tables({names.EXTERNAL_LABELS_FILE: external.labels})
    if len(photos.skipped):
        run.log_tables({names.EXTERNAL_SKIPPED_FILE: photos.skipped})
    found = overlap(dataset, photos)
    exact = int((found["kind"] == EXACT).sum())
    near = len(found) - exact
    if len(found):
        run.log_tables({names.EXTERNAL_OVERLAP_FILE: found})
        note(
            f"of {counted(len(photos.table), 'photo')} in data.external, {exact:,} equal one that is trained or "
            f"validated on, and {near:,} nearly do. They count, so the accuracy there looks better than it is; "
            f"{names.EXTERNAL_OVERLAP_FILE} of each run names them."
        )
    run.log_results({names.EXTERNAL_EXACT_DUPLICATES: exact, names.EXTERNAL_NEAR_DUPLICATES: near})
    return photos


def track_external(run: TrackedRun, model: keras.Model, photos: Dataset, batch_size: int) -> None:
    """Test the trained network once on photos from elsewhere, and track what it said of them."""
    predictions = evaluation.predict(model, photos, batch_size)
    run.log_results({names.EXTERNAL_IMAGES: len(predictions), **evaluation.score_external(predictions)})
    run.log_tables({names.EXTERNAL_PREDICTIONS_FILE: predictions})
    worst = pictures.worst_photos(predictions, photos.classes, photos.pixels, photos.rows("test"))
    run.log_text(worst, names.EXTERNAL_WORST_PHOTOS_FILE)
