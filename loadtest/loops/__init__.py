"""How requests are sent: the open loop and its processes, the closed loop and its Locust users."""
