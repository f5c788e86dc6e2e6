"""The dial of shares in a recipe: arms that are merged out of other arms, and experts for domains, written in short."""
