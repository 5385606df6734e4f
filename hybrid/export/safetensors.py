"""The plain form: a folder that loads with ``idmodels`` alone (`idmodels.saved`)."""

import shutil
from pathlib import Path

from hybrid.errors import UserError
from idmodels.errors import IDModelError
from idmodels.folders import complete_folder
from idmodels.saved import FILES, load_id_model


def export_id_model(source_dir: Path, out: Path) -> None:
    """Copy the saved ID model of ``source_dir`` to the folder ``out``, after checking that it loads.

    Raises UserError where the source is no saved ID model or ``out`` can't be written or holds other files.
    """
    try:
        load_id_model(source_dir)
        with complete_folder(Path(out), FILES) as folder:
            for name in [name for name in FILES if Path(source_dir, name).exists()]:
                shutil.copyfile(Path(source_dir, name), folder / name)
    except IDModelError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{out}: not written: {error.strerror or error}") from None
