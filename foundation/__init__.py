"""What all other packages use: commands, files, figures, pages. Imports none of them."""
