"""Writing the report of an experiment, and how large its page is.

    python benchmarks/report.py                    4 arms x 3 seeds = 12 runs, 500 samples each, 2,000 steps
    python benchmarks/report.py --samples 100 --steps 200

The runs are made up, in the files that real ones leave (prompts of about 900 characters, every third one Korean); the
comparison is really built from them. There is no peer: `seconds` is the median of the rounds and `bytes` is
report.html, each against its limit. Building the comparison is timed beside it and is in no limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from curricle.experiments.report.write import write_report
from harness import figure, seconds
from made_runs import MadeArm, made_comparison, write_runs

ARMS = (
    MadeArm("shuffled", 2.20, 0.42),
    MadeArm("easy_first", 2.12, 0.46, {"curriculum": {"strategy": "length"}}),
    MadeArm("hard_first", 2.25, 0.40, {"curriculum": {"strategy": "anti"}}),
    MadeArm("layers", 2.10, 0.47, {"curriculum": {"strategy": "layer_wise_progressive"}}),
)
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = write_runs(Path(place), ARMS, SEEDS, arguments.samples, arguments.steps)
        building = seconds(lambda: made_comparison(folder, ARMS, ()))
        comparison = made_comparison(folder, ARMS, ())
        times = [seconds(lambda: write_report(comparison, folder)) for _ in range(arguments.repeats)]
        size = (folder / "report.html").stat().st_size
        markdown = (folder / "report.md").stat().st_size
    scale = {"runs": len(ARMS) * len(SEEDS), "samples": arguments.samples, "steps": arguments.steps}
    figure(
        "report.seconds",
        ours=statistics.median(times),
        target=5.0,
        direction="at_most",
        spread=(min(times), max(times)),
        unit="s",
        comparison_seconds=round(building, 3),
        **scale,
    )
    figure("report.bytes", ours=size, target=3e6, direction="at_most", unit="B", markdown=markdown, **scale)


if __name__ == "__main__":
    main()
