"""A page in the browser to try the served models, for people at this machine."""
