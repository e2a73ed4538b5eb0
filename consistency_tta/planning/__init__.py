"""How much memory a training needs: the recipe's own step, run on tensors that have shapes and no values.

without_weights.py  takes the place of the loaders, so that no file of weights is read
unloaded_parts.py   parts of model folders, of their configurations
stand_ins.py        shapes of published models that are not here
recipe_chain.py     shapes of models that other recipes train
assumed_values.py   answers what the step reads of tensors without values
substitutes.py      functions that need values, replaced
live_bytes.py       counts the bytes of live tensors
cuda_autocast.py    number formats as on an accelerator
counted_step.py     one training step, counted
parts.py            trained, averaged and frozen parameters
sharded.py          what fsdp2 divides among processes
variants.py         the combinations of precision and checkpointing that are counted
memory.py           bytes in each process, by strategy and batch
report.py           tables
command.py          ``consistency-tta plan``
"""
