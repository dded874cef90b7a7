//! Convolutional networks for Glassbox: layers, blocks, LeNet and ResNet.
