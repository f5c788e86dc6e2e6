"""Share: what an expert learned, as a difference from the model it started from, and what is made of several.

checkpoint.py   the tensors of a model folder, one at a time
difference.py   what an expert changed: low-rank factors or dense tensors, lazily
peft_files.py   a PEFT adapter read as such a difference
files.py        the folder that `curricle diff` writes, and its reader
statistics.py   what a difference holds in figures; cosines between experts
picture.py      the same drawn
making.py       `curricle diff`: all of that for several experts
naming.py       NAME=PATH@WEIGHT
merging/        base + sum of weight times difference, streamed into a new model
search/         which weights, by the held-out loss of every domain
adapter.py      one adapter out of several weighted ones
proof.py        a merged model against its base with the experts beside it
"""
