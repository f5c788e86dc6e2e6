"""Rows in, token batches out: readers, formats, prompts, masks, packing, collation. Knows no model."""
