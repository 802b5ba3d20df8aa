"""What a load test is asked to do: settings, the flags that fill them, and searches."""
