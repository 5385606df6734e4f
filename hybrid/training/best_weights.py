"""Going back to a side's best weights by validation, as they were kept in the run directory."""

from typing import Any

from torch import Tensor

from hybrid.checkpoint_files import load_tensors, save_tensors
from hybrid.system import BRIDGES, LLM, BaseSystem
from hybrid.training.learner import Learner
from hybrid.training.run_directory import RunDirectory, disk_errors
from hybrid.whole_files import written_beside


def keep_id(learner: Learner[Any], run: RunDirectory) -> None:
    """Write the ID side with its bridges, not folded: a folded table can't be trained on beside its features."""
    path = run.best_id_training
    with disk_errors(path), written_beside(path) as beside:
        save_tensors(beside, _module_state(learner))


def take_best(system: BaseSystem, learner: Learner[Any], run: RunDirectory) -> None:
    """Put the side's best weights in the place of those it has, with an optimiser that starts anew.

    The other side stays as it is. An LLM side takes up its best item vectors as well.
    """
    if learner.side == "id":
        tensors, _ = load_tensors(run.best_id_training)
        for number, module in enumerate(learner.modules):
            module.load_state_dict({name: tensors[f"{number}.{name}"] for name in module.state_dict()})
    else:
        system.need_llm().load(run.best_llm / LLM)
        tensors, _ = load_tensors(run.best_llm / BRIDGES)
        system.exchange.load_bridge_state(tensors, "llm")
    system.exchange.refresh()
    learner.start_anew()


def _module_state(learner: Learner[Any]) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": tensor
        for number, module in enumerate(learner.modules)
        for name, tensor in module.state_dict().items()
    }
