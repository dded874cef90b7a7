//! Deep learning in Rust that you can see through: CNN, RNN, GAN and Transformer on Candle.
