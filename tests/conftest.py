"""One thread for torch: the suite's processes share the machine, and results do not depend on it."""

import torch

torch.set_num_threads(1)
