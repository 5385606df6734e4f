"""An index over the item vectors: maximum inner product search with the ID model's user states."""

import json
from pathlib import Path

from hybrid.errors import UserError
from idmodels.errors import IDModelError
from idmodels.folders import complete_folder
from idmodels.saved import load_id_model

INDEX, IDS = "items.faiss", "items.ids.json"


def export_id_model(source_dir: Path, out: Path) -> None:
    """Write an exact inner-product index of the item table, and the raw id of each place in it; padding is left out.

    Search with ``last_states(...)`` of the model in ``source_dir``. Raises UserError where the source is no saved ID
    model, faiss is absent, or ``out`` can't be written.
    """
    try:
        import faiss
    except ImportError:
        raise UserError("the faiss export needs faiss: pip install faiss-cpu") from None
    try:
        model, item_ids = load_id_model(source_dir)
        index = faiss.IndexFlatIP(model.width)
        index.add(model.item_table().detach().numpy()[1:])
        with complete_folder(Path(out), (INDEX, IDS)) as folder:
            faiss.write_index(index, str(folder / INDEX))
            (folder / IDS).write_text(json.dumps(item_ids[1:], ensure_ascii=False), encoding="utf-8")
    except IDModelError as error:
        raise UserError(str(error)) from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"{out}: not written: {error}") from None
