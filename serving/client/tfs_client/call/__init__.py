"""One call: checked, sent, retried, passed on to fallbacks, and told to observers."""
