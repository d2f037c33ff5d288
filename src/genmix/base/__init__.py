"""The estimator contract: validation, preprocessing, model files, the registry of models."""
