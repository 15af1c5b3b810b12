"""The hyperparameter search of the paper: space, trials, total score, importance of settings."""
