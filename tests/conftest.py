"""Small tensors everywhere: one thread each is faster than two, and tests may run beside each other."""

import torch

torch.set_num_threads(1)
