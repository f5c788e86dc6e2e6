"""Which example, when? Orders and the stream of draws. Pure: no model, no tensor."""
