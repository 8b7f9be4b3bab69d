"""One module per kind of model. A new module here is a new value of `model.kind`; see docs/own-model.md."""
