//! The options that all recurrent layers have.

use glassbox_core::{Error, Result};

/// What [`config`] puts into every configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub num_layers: usize,
    pub bidirectional: bool,
    pub bias: bool,
    pub dropout: f64,
    pub variational_dropout: bool,
    pub recurrent_dropout: f64,
    pub layer_norm: bool,
    pub learned_state: bool,
    pub orthogonal: bool,
}

impl Options {
    pub fn check(&self) -> Result<()> {
        expect_positive("num_layers", self.num_layers)
    }
}

/// Fails where `value` is 0.
pub(crate) fn expect_positive(what: &str, value: usize) -> Result<()> {
    if value > 0 { Ok(()) } else { Err(Error::invalid(what, "at least 1", value)) }
}

/// A configuration with the options of all recurrent layers, and those of its own.
macro_rules! config {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name {
            /// Layers, each on the outputs of the one below, at least 1. Default 1.
            pub num_layers: usize,
            /// Whether each layer also runs from the last step to the first, with parameters of its own; its output is
            /// then the hidden states of both, forward first. Default false.
            pub bidirectional: bool,
            /// Whether the sums have biases. Default true.
            pub bias: bool,
            /// Probability with which the outputs of each layer but the last are dropped in training, in [0, 1).
            /// Default 0.
            pub dropout: f64,
            /// Whether `dropout` draws one mask for all steps of a sequence instead of one for each (Gal and Ghahramani
            /// 2016, arXiv 1512.05287, who also drop inputs and recurrent connections). Default false. PyTorch has none.
            pub variational_dropout: bool,
            /// Probability with which elements of the recurrent weights are dropped in training, in [0, 1): one mask a
            /// call, for all steps and samples (DropConnect; Merity et al. 2017, arXiv 1708.02182). Default 0. PyTorch has
            /// none.
            pub recurrent_dropout: f64,
            /// Whether the outputs of every layer, of both directions together, are normalised over their features, before
            /// any dropout: y_t = LayerNorm(h_t), with the parameters `norm_l0.weight`, `norm_l0.bias`, …. The states are
            /// not, so the recurrence itself is that of PyTorch, which has none; Ba et al. 2016 (arXiv 1607.06450)
            /// normalise the sums inside each step instead. Default false.
            pub layer_norm: bool,
            /// Whether the state that a sequence starts from, if none is given, is learned: the parameter `h0` (num_layers ·
            /// num_directions, 1, hidden_size) and, in an LSTM, `c0`, initially 0. Default false: it starts from 0.
            pub learned_state: bool,
            /// Whether the recurrent weights start with orthonormal columns (Saxe et al. 2013, arXiv 1312.6120), those of
            /// all gates as one matrix, as Keras has it, instead of PyTorch's uniform values. Default false.
            pub orthogonal: bool,
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    num_layers: 1,
                    bidirectional: false,
                    bias: true,
                    dropout: 0.0,
                    variational_dropout: false,
                    recurrent_dropout: 0.0,
                    layer_norm: false,
                    learned_state: false,
                    orthogonal: false,
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            fn options(&self) -> $crate::layers::config::Options {
                $crate::layers::config::Options {
                    num_layers: self.num_layers,
                    bidirectional: self.bidirectional,
                    bias: self.bias,
                    dropout: self.dropout,
                    variational_dropout: self.variational_dropout,
                    recurrent_dropout: self.recurrent_dropout,
                    layer_norm: self.layer_norm,
                    learned_state: self.learned_state,
                    orthogonal: self.orthogonal,
                }
            }
        }
    };
}

pub(super) use config;
