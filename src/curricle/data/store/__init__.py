"""The store: rows of a large file by their numbers, chosen by columns of a small index.

store = open_store("train.jsonl", columns=["is_correct", "metadata.difficulty", "problem"])
chosen = select(store, Selection(rows=50_000, shares={"is_correct": "equal"}, cap={"problem": 8}))
for row in store.rows(chosen.indices): ...
"""

from .config import Selection
from .selecting import Account, Selected, select
from .store import Store, open_store

__all__ = ["Account", "Selected", "Selection", "Store", "open_store", "select"]
