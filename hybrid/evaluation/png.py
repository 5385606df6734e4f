"""A figure as a file, whole or not at all."""

from pathlib import Path
from typing import TYPE_CHECKING

from hybrid.whole_files import written_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_png(figure: "Figure", path: Path) -> None:
    """Write ``figure`` beside ``path``, then put it in its place."""
    with written_beside(path) as beside:
        figure.savefig(beside, format="png", dpi=150)
