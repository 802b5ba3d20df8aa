"""The servers that a rollout reaches, and where their models.config lies."""
