"""The store: rows of a large file by their numbers, chosen by columns of a small index.

store = open_store("train.jsonl", columns=["is_correct", "metadata.difficulty", "problem"])
chosen = select(store, Selection(rows=50_000, shares={"is_correct": "equal"}, cap={"problem": 8}))
for row in store.rows(chosen.indices): ...
"""

from .config import Selection
from .selecting import Account, Selected, select
from .store import Store, check_kind, open_store
from .subset import select_rows

__all__ = ["Account", "Selected", "Selection", "Store", "check_kind", "open_store", "select", "select_rows"]
