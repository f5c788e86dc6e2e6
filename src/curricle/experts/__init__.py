"""Share: what an expert learned, as a difference from the model it started from, and what is made of several.

checkpoint.py   the tensors of a model folder, one at a time
difference.py   what an expert changed: low-rank factors or dense tensors, lazily
peft_files.py   a PEFT adapter read as such a difference
files.py        the folder that `curricle diff` writes, and its reader
statistics.py   what a difference holds in figures; cosines between experts
naming.py       NAME=PATH@WEIGHT
"""
