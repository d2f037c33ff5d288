"""What the models call while they train, and never inherit: where to compute, views, starts, checkpoints."""
