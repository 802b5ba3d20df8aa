"""What a fake serves: models, what they are asked, and the words in which they refuse."""
