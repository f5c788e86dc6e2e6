"""A plain PyTorch loop as a curriculum: easy sequences first, more of them as the loss falls.

    python examples/plain_loop.py

The lines marked `curriculum` are all that changes. The data are made up: counting sequences, of which some are shuffled
so that there is less and less to predict. How hard they are is known here; `curricle score` measures it for real data.
"""

from __future__ import annotations

import random

import torch
from torch import nn

from curricle import CurriculumConfig, create_curriculum_dataloader  # curriculum


def make_rows(num: int) -> tuple[list[dict[str, torch.Tensor]], list[float]]:
    draw = random.Random(0)
    rows, difficulties = [], []
    for i in range(num):
        tokens = [(i + step) % 16 for step in range(12)]
        noise = i % 4
        for _ in range(2 * noise):
            tokens[draw.randrange(12)] = draw.randrange(16)
        rows.append({"tokens": torch.tensor(tokens)})
        difficulties.append(noise / 4)
    return rows, difficulties


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.read, self.head = nn.Embedding(16, 32), nn.GRU(32, 32, batch_first=True), nn.Linear(32, 16)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.read(self.embed(tokens[:, :-1]))
        return nn.functional.cross_entropy(self.head(states).flatten(0, 1), tokens[:, 1:].flatten())


def main(num_epochs: int = 6) -> list[float]:
    torch.manual_seed(0)
    dataset, difficulties = make_rows(256)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    config = CurriculumConfig(strategy="hybrid", loss_threshold=2.5, difficulty_step_up=0.2)  # curriculum
    losses: list[float] = []
    for epoch in range(num_epochs):
        loader = create_curriculum_dataloader(  # was: DataLoader(dataset, batch_size=16, shuffle=True)
            dataset, difficulties, config, epoch, losses[-1] if losses else None, batch_size=16, num_epochs=num_epochs
        )
        total, num_rows = 0.0, 0
        for batch in loader:
            loss = model(batch["tokens"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total, num_rows = total + loss.item(), num_rows + len(batch["tokens"])
        losses.append(total / len(loader))
        print(f"epoch {epoch}: {num_rows:4} of {len(dataset)} rows, loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
