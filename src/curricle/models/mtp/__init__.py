"""Multi-token prediction: one model whose heads each learn another token ahead.

    configuration.py  what such a model is: the config of its own family, and the heads
    model.py          the model: a family's own backbone, more heads on its trunk
    making.py         a model with heads from one without, or from nothing
    trunk.py          the state that all heads read, for whoever else reads it (a value head)
    adapter.py        the same model under the name and methods of the sources

After Gloeckle et al., 2024 (arXiv 2404.19737) for parallel heads; docs/mtp.md says more.
"""
