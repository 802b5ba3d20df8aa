"""Who sends it: the open loop and its processes, the closed one and its Locust users."""
