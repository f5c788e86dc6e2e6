"""Formulas that say beforehand what a run will take. Pure."""
