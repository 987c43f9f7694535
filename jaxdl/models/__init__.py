"""One file per family of architectures; import a model from its own file."""
