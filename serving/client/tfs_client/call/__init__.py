"""One call on its way: checked, sent, repeated, handed to whom comes after, and watched."""
