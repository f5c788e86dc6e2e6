"""Curricle: four dials of data efficiency for language models, each measured."""
