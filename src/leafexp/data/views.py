"""The eight views of a photo: four turns, each as it is and mirrored. No pixel is computed anew."""

import numpy as np

VIEWS = 8


def in_views(photos: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Each photo in its view, shape (photos, side, side, ...); view 0 is the photo as it is.

    View v is the photo mirrored left to right where v is 4 or more, and then turned by v % 4 quarter turns to the left.
    """
    if not views.any():
        return photos
    seen = np.empty_like(photos)
    for view in np.unique(views):
        chosen = views == view
        photo = photos[chosen]
        seen[chosen] = np.rot90(photo[:, :, ::-1] if view >= VIEWS // 2 else photo, view % 4, axes=(1, 2))
    return seen
