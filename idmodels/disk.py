"""A disk that is full, by one name: safetensors and torch report it as errors of their own."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn what safetensors and ``torch.save`` raise while they write ``path`` into the OSError that it is."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        text = " ".join(str(error).split())
        known = re.search(r"\(os error (\d+)\)", text)
        if known:
            raise OSError(int(known[1]), os.strerror(int(known[1])), str(path)) from None
        reason = "the disk is full" if "inline_container" in text else text  # torch's zip writer gives no reason
        raise OSError(errno.EIO, reason, str(path)) from None
