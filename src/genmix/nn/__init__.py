"""Stacked networks, how they are built, and adversarial losses."""
