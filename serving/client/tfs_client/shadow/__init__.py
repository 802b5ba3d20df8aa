"""The shadow: a second version is asked the same; its answers are compared and not used."""
