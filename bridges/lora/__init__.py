"""One low-rank adapter, ``delta(x) = (alpha / R) B M(u) A x``, and the forms of its core M(u).

`algebra` is the arithmetic, `routers` make M(u), `tuner` puts it into a language model as a PEFT method, `mixing`
merges finished PEFT LoRAs. Importing `bridges.lora.tuner` registers the method, so that PEFT loads its directories.
"""
