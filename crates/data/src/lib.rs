//! Datasets, loaders of common file formats and image transforms for Glassbox.
