"""ID models: recommenders that know items by id only. Start at `idmodels.registry` and `idmodels.contract`."""
