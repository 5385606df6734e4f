"""A control of distillation: another plain ID model teaches in the LLM's place.

If it teaches as well, what an ID model gains by learning from the LLM is what any second model would give it.
"""

from hybrid.generators import forked_generators
from hybrid.modes import inference
from hybrid.sources import Source
from hybrid.system import System
from hybrid.training.monitor import Monitor
from hybrid.training.plain_models import plain_model
from hybrid.training.run_directory import RunDirectory, replace_directory
from hybrid.training.source_training import learner_alone
from idmodels.saved import load_id_model, write_id_model

OTHER_SEED = 1_000_003
"""Added to the run's seed: seeds that are near are in use beside it."""


class Peer:
    """A plain ID model of the run's settings and of another seed, kept in the run directory."""

    def __init__(self, system: System, run: RunDirectory) -> None:
        self.system, self.folder = system, run.path / "best" / "peer"

    def prepare(self, units: int, monitor: Monitor) -> float:
        """Train it for ``units`` of the schedule, unless that was done before; seconds as in `Safeguard.prepare`."""
        if self.folder.exists():
            return 0.0
        data, config = self.system.data, self.system.config
        peer = plain_model("peer", self.system, units, monitor, config.seed + OTHER_SEED)
        replace_directory(self.folder, lambda path: write_id_model(peer.model, path, data.item_ids, {}))
        return peer.cached_s

    def teach(self, step: int) -> None:
        """Write its item table and its states into the exchange store where the LLM's would stand, once."""
        store, data = self.system.exchange.store, self.system.data
        if store.has("llm", "item"):
            return
        model = load_id_model(self.folder)[0].to(self.system.device)
        with forked_generators(device=self.system.device):
            learner = learner_alone(Source("peer", model, trained=True), self.system, 1)
        with inference(model):
            table = model.item_table()
            store.write("llm", "item", table, step=step, fingerprint=data.fingerprint)
            for states, rows in learner.states(table):
                store.write("llm", "user", states, step=step, fingerprint=data.fingerprint, index=rows)
