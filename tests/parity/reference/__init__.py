"""The networks, the loss and the optimizer in plain PyTorch, written from the papers' equations."""
