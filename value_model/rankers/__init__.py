"""Rankers: what is expected of every item shown, head by head; networks, trees, losses, training, calibration."""
