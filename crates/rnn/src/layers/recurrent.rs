//! What all recurrent layers do.

use candle_core::Tensor;
use glassbox_core::{Layer, Pass, Result};

use super::RecurrentState;

/// A recurrent network: an [`Rnn`](crate::Rnn), a [`Gru`](crate::Gru) or an [`Lstm`](crate::Lstm).
///
/// [`Layer::forward`] gives the sequence alone, from the initial state. In training, dropout is drawn anew at each call.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_rnn::{Gru, GruConfig, Recurrent, RecurrentState};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let gru = Gru::new(3, 4, GruConfig::default(), params.root())?;
/// let pass = Pass::eval();
///
/// // Batches of one long sequence: the state is carried, its gradient is not.
/// let xs = Tensor::zeros((2, 5, 3), DType::F32, &Device::Cpu)?;
/// let (_, state) = gru.forward_with(&xs, None, None, &pass)?;
/// let (sequence, state) = gru.forward_with(&xs, Some(&state.detach()), Some(&[5, 2]), &pass)?;
/// assert_eq!((sequence.dims(), state.hidden.dims()), ([2, 5, 4].as_slice(), [1, 2, 4].as_slice()));
///
/// // A stream, one step at a time.
/// let (output, _) = gru.step(&Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?, Some(&state), &pass)?;
/// assert_eq!(output.dims(), [2, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub trait Recurrent: Layer {
    /// What is remembered from one call to the next.
    type State: RecurrentState;

    /// The outputs of all steps, and the final state.
    ///
    /// Without a `state` it starts from the learned one, if there is one, or from zeros. `lengths` says how many steps of
    /// each sample count, from 1 to seq_len, in any order, without which all do: beyond them outputs are 0 and inputs play
    /// no part, the final state is that after the last step that counts, and the backward direction starts there, as with
    /// PyTorch's packed sequences.
    ///
    /// # Shapes
    /// `xs` (batch, seq_len, input_size) to (batch, seq_len, output_size).
    ///
    /// # Errors
    /// An input of another shape or without steps, a state of other sizes, as many lengths as there are samples not given,
    /// or one outside of 1 to seq_len.
    fn forward_with(
        &self,
        xs: &Tensor,
        state: Option<&Self::State>,
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<(Tensor, Self::State)>;

    /// The output of one step, and the state after it. A sequence fed step by step gives what it gives as a whole.
    ///
    /// # Shapes
    /// `xs` (batch, input_size) to (batch, output_size).
    ///
    /// # Errors
    /// An input of another shape, a state of other sizes, or a network of two directions, which needs the whole sequence.
    fn step(&self, xs: &Tensor, state: Option<&Self::State>, pass: &Pass) -> Result<(Tensor, Self::State)>;

    /// How large it is.
    fn sizes(&self) -> RecurrentSizes;
}

/// How large a recurrent network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentSizes {
    /// Features of a step's input.
    pub input_size: usize,
    /// Of the gates, and of an LSTM's cell state.
    pub hidden_size: usize,
    /// Of the hidden state: hidden_size, or proj_size where it is projected.
    pub state_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// 1, or 2 for forward and backward.
    pub num_directions: usize,
}

impl RecurrentSizes {
    /// States: one for each layer in each direction.
    pub fn num_states(&self) -> usize {
        self.num_layers * self.num_directions
    }

    /// Features of a step's output: the hidden states of all directions.
    pub fn output_size(&self) -> usize {
        self.num_directions * self.state_size
    }
}

/// Makes `$layer`, a struct around a [`Stack`](super::stack::Stack), a layer and recurrent.
macro_rules! recurrent {
    ($layer:ident, $state:ty) => {
        impl ::glassbox_core::Layer for $layer {
            fn forward(
                &self,
                xs: &::candle_core::Tensor,
                pass: &::glassbox_core::Pass,
            ) -> ::glassbox_core::Result<::candle_core::Tensor> {
                Ok(self.0.run(xs, None, None, pass)?.0)
            }

            fn site(&self) -> Option<&::glassbox_core::Site> {
                Some(self.0.site())
            }
        }

        impl $crate::Recurrent for $layer {
            type State = $state;

            fn forward_with(
                &self,
                xs: &::candle_core::Tensor,
                state: Option<&$state>,
                lengths: Option<&[usize]>,
                pass: &::glassbox_core::Pass,
            ) -> ::glassbox_core::Result<(::candle_core::Tensor, $state)> {
                self.0.forward_with(xs, state, lengths, pass)
            }

            fn step(
                &self,
                xs: &::candle_core::Tensor,
                state: Option<&$state>,
                pass: &::glassbox_core::Pass,
            ) -> ::glassbox_core::Result<(::candle_core::Tensor, $state)> {
                self.0.step(xs, state, pass)
            }

            fn sizes(&self) -> $crate::RecurrentSizes {
                self.0.sizes()
            }
        }
    };
}

pub(super) use recurrent;
