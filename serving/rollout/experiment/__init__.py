"""The A/B experiment behind a rollout: is the version on trial better, worse, harmful, or the same?

    plan = read_plan("serving/experiment.json")
    records = read_records(plan, ["exposures*.jsonl"], ["outcomes.csv"])
    print(evaluate(plan, records, time.time()).reason)

The command is `python -m serving.rollout.experiment`.
"""

from serving.rollout.experiment.evaluation import evaluate
from serving.rollout.experiment.plan import Plan, read_plan
from serving.rollout.experiment.reading import read_records
from serving.rollout.experiment.verdict import Verdict

__all__ = ["Plan", "Verdict", "evaluate", "read_plan", "read_records"]
