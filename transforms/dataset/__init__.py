"""The tables of the dataset, the summary and the page."""
