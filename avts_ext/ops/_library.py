"""The one ``torch.library.Library`` that all operators register themselves in.

Each operator module defines its schema, then its kernel per device, its fake kernel and its
autograd formula. Registering from Python keeps the compiled kernels free of PyTorch, and
``Library`` costs a third of ``torch.library.custom_op`` per call.
"""

import torch

LIBRARY = torch.library.Library("avts", "DEF")
TAGS = (torch.Tag.pt2_compliant_tag,)
