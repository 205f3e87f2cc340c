"""One process at a time: locks that end with the process that holds them, on any file system."""

import errno
import functools
import tempfile
from pathlib import Path

from filelock import BaseFileLock, SoftFileLease
from filelock import FileLock as SystemLock

# How a file system says that it has no locks: Lustre without -o flock, NFS without its lock service, others.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


def file_lock(path: Path | str, timeout: float = -1) -> BaseFileLock:
    """A lock on `path`, whose folder must exist; the system lets go of it however its process ends.

    Where the file system has no locks, it is a file that its holder renews and that counts for nothing 30 s after the
    last time, so that a process killed in another container holds nobody up.

    Args:
        path: the lock's file.
        timeout: seconds after which acquiring it raises `filelock.Timeout`; -1 waits for ever.
    """
    if system_locks(Path(path).parent):
        return SystemLock(path, timeout=timeout)
    return SoftFileLease(f"{path}.lease", timeout=timeout)


@functools.cache
def system_locks(folder: Path) -> bool:
    """Whether the file system of `folder` has locks; True where that can't be tried, as acquiring one then says why."""
    try:
        import fcntl
    except ImportError:  # Windows, which always has them
        return True
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    return True
