"""Puts a version on trial, makes it the stable one, goes back: models.config and the servers.

    python -m serving.rollout status | canary N | promote | rollback | retire N | …

A verb (verbs.py) plans a sequence of states, each of them legal (states.py). operation.py carries
it out: it notes the change before it begins (journal.py), takes all servers from one state to the
next (steps.py), and undoes the change if one does not follow.
"""
