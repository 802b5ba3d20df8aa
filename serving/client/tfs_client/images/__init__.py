"""The image classifier: pictures are checked before they are sent, answers are typed."""
