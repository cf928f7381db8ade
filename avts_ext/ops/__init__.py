"""The operators: stateless functions on tensors, registered with PyTorch's dispatcher."""
