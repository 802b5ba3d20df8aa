"""The fleet of a rollout: its servers, and the place where their models.config lies."""
