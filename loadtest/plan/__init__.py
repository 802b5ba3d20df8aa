"""What a load test is asked to do: settings, and the flags that fill them."""
