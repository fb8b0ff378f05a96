"""Exact thresholded Dice matching of Bloom-filter encodings, and multi-party solving."""
