"""The end of a run: the sums that must add up, the guards, and the one file that commits."""
