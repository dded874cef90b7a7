//! Parameters, layers, losses, optimizers, data loading and the training loop of Glassbox.
