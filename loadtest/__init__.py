"""The load test: what a deployment can carry, and how surely that is known.

Commands, each a module of this folder:

- run: one load, closed loop or open loop, with a report; a gate with --objectives
- knee: the highest rate that holds objectives
- compare: whether B is slower than A
- tune: which batching parameters carry the highest rate
- replay: a run's test images through the A/B router, for an experiment's verdict

A run goes through the rooms in this order. `plan` holds what was asked for; `traffic` makes the
requests and the moments at which they are due; `loops` sends them; `results` holds what was
measured, and `results.percentiles` the one definition of a percentile; `server` reads the servers'
metrics meanwhile, and `change` runs commands on them; `verdicts` judges; `report` draws the page.
`tuning` is the room of the command tune.

Nothing here imports TensorFlow, which the servers have to themselves.
"""
