"""What the deployment can carry, and what that can be known from. No TensorFlow.

Commands: run, replay. Behind them settings, running (one run), traffic (what is sent, and when),
loops (who sends it), results (what a run leaves), server (what the servers say of it) and report
(the pages).
"""
