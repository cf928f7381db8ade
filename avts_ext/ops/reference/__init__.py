"""Each operator again in plain PyTorch: slow, differentiable, in float64, by the equations.

They document what the kernels compute, and the kernels are tested and timed against them.
"""
