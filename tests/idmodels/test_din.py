import torch

from idmodels.click import DISLIKED, LIKED, UNKNOWN, ClickBatch
from idmodels.click_layers import Dice
from idmodels.click_settings import ClickSettings
from idmodels.din import DIN


def test_dice_by_hand() -> None:
    # Mean 2 and variance 1: the standardised values are -1 and 1; below, the slope is 0.5.
    dice = Dice(1)
    torch.nn.init.constant_(dice.slope, 0.5)
    out = dice.train()(torch.tensor([[1.0], [3.0]]))
    share = torch.sigmoid(torch.tensor([[-1.0], [1.0]]))
    assert torch.allclose(out, torch.tensor([[1.0], [3.0]]) * (share + (1 - share) * 0.5), atol=1e-4)
    # Outside training: the running statistics, a tenth of the way from (0, 1) to (2, 2), the unbiased variance.
    assert dice.running_mean.item() == torch.tensor(0.2).item()
    value = (1.0 - 0.2) / (0.9 + 0.1 * 2.0) ** 0.5
    share = torch.sigmoid(torch.tensor([[value]]))
    assert torch.allclose(dice.eval()(torch.tensor([[1.0]])), share + (1 - share) * 0.5, atol=1e-4)


def test_the_state_is_the_weighted_sum_of_the_history() -> None:
    torch.manual_seed(0)
    model = DIN(9, ClickSettings(width=4, attention_widths=(5,), hidden_widths=(6,))).eval()
    # What the user thought is added to each item; of the last one nothing is known.
    thoughts = torch.stack([*model.mark_embedding.weight[[LIKED, DISLIKED]], torch.zeros(4)])
    items, target = model.item_embedding.weight[[3, 1, 3]] + thoughts, model.item_embedding.weight[7]
    weights = [model.attention.weigh(torch.cat([e, target, e - target, e * target])[None]) for e in items]
    expected = sum(weight[0] * item for weight, item in zip(weights, items, strict=True))
    marks = torch.tensor([[LIKED, DISLIKED, UNKNOWN, UNKNOWN]])
    one = torch.tensor([1])
    batch = ClickBatch(one, torch.tensor([[3, 1, 3, 0]]), marks, torch.tensor([3]), torch.tensor([7]), one)
    state = model.user_state(batch)
    assert torch.allclose(state[0], expected, atol=1e-6)
