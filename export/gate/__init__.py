"""The gate: may a version be tried beside the stable one?

    python -m export.gate 2

images.py finds held-out images, child.py starts the process (evidence.py) that asks both versions,
checks.py decides by limits (verdict.py), and judging.py writes the verdict and its page (page.py).
"""
