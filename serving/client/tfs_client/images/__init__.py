"""The image classifier: pictures looked at before they are sent, and answers in its own words."""
