"""One look for every HTML page: template and style, plots, numbers, and the list of all pages."""
