"""The gate: may a version be tried beside the stable one?

python -m export.gate 2                images.py finds held-out images, child.py starts the
process (evidence.py) that asks both versions, checks.py
judges, verdict.py says, page.py shows.
"""
