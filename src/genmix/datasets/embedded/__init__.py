"""Two small data sets that come with genmix; ATTRIBUTION.md says whose they are. Read by genmix.datasets."""
