"""An index over the item vectors: maximum inner product search with the ID model's user states."""

import json
from pathlib import Path

from hybrid.errors import UserError
from idmodels.errors import IDModelError
from idmodels.folders import complete_folder
from idmodels.saved import load_id_model

INDEX, IDS, README = "items.faiss", "items.ids.json", "README.md"

_README = """# Item vectors of {model} in a FAISS index

`items.faiss` is an exact inner-product index (`IndexFlatIP`) of {items} item vectors, {width} wide. Place k in it is
row k + 1 of the model's item table (row 0 is padding and left out); `items.ids.json` has the raw id of each place. The
query is the user state of the same ID model (`hybridrec export RUN --format safetensors`):

    import faiss, json, torch
    from idmodels.saved import load_id_model
    from idmodels.scoring import last_states

    model, row_ids = load_id_model("RUN/export/safetensors")
    row_of = {{raw: row for row, raw in enumerate(row_ids)}}
    history = torch.tensor([[row_of[raw] for raw in history_of_raw_ids][-model.settings.max_length :]])
    with torch.no_grad():
        states = last_states(model, history, torch.tensor([history.shape[1]]))
    scores, places = faiss.read_index("items.faiss").search(states.numpy(), 10)
    ids = json.load(open("items.ids.json"))
    print([ids[place] for place in places[0]])

Items of the history are found too; leave them out of the list if they are not to be recommended again.
"""


def export_id_model(source_dir: Path, out: Path) -> None:
    """Write an exact inner-product index of the item table, and the raw id of each place in it; padding is left out.

    Search with ``last_states(...)`` of the model in ``source_dir``. Raises UserError where the source is no saved ID
    model, faiss is absent, or ``out`` can't be written.
    """
    try:
        import faiss
    except ImportError:
        raise UserError("the faiss export needs faiss: pip install faiss-cpu (or faiss-gpu-cu12)") from None
    try:
        model, item_ids = load_id_model(source_dir)
        if not model.has_states:
            raise UserError(f"{model.settings.model} scores items in another way than by inner products; no index fits")
        index = faiss.IndexFlatIP(model.width)
        index.add(model.item_table().detach().numpy()[1:])
        with complete_folder(Path(out), (INDEX, IDS, README)) as folder:
            faiss.write_index(index, str(folder / INDEX))
            (folder / IDS).write_text(json.dumps(item_ids[1:], ensure_ascii=False), encoding="utf-8")
            readme = _README.format(model=model.settings.model, items=index.ntotal, width=model.width)
            (folder / README).write_text(readme, encoding="utf-8")
    except IDModelError as error:
        raise UserError(str(error)) from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"{out}: not written: {error}") from None
