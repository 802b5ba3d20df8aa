"""`rollout status`: the file, the servers, what has changed, and the traffic.

past.py reads the history, traffic.py asks Prometheus, looking.py puts all of it together, shown.py
writes it as text and as JSON, command.py does so once or again and again.
"""
