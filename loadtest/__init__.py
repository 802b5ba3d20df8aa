"""What the deployment can carry, and what that can be known from. No TensorFlow.

Commands: run, replay. Behind them traffic (what is sent, and when), loops (who sends
it), results (what a run leaves), server (what the servers say of it), verdicts (what follows) and
report (the page).
"""
