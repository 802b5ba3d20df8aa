"""Puts a version on trial, makes it the stable one, goes back: models.config and the servers.

    python -m serving.rollout status | canary N | promote | rollback | retire N | …

Every verb is a sequence of states that are each legal (states.py), written to the file at once or
not at all (config_file.py), noted before it begins (journal.py), shown to each server (fleet.py)
and undone if one does not follow (operation.py).
"""
