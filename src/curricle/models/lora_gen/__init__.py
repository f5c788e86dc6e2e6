"""LoRA made by another model: a cloud model reads a system prompt, and small factors for an edge model come out.

    cloud.py      the frozen cloud: one hidden state for each layer of the edge
    generator.py  those states to a mixture of shared experts in every layer
    edge.py       the mixture inside the edge's forward, by hooks; its weights are not touched
    model.py      the three together as one model that a trainer takes
    adapter.py    what one prompt gives, as a plain PEFT adapter or merged into the weights

After LoRA-Gen (Xiao et al., ICML 2025, arXiv 2506.11638); docs/lora-gen.md says where we differ.
"""
