"""The analysis of labels: which layers differ, how scores are spread, how they agree, and what they foresee."""
