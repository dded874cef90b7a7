//! A vector for a whole sequence.

use candle_core::{D, Tensor};
use glassbox_core::{Activation, Error, Layer, Linear, Pass, Result, Site, TensorExt, VarBuilder};
use glassbox_kernels::activation::activation;
use glassbox_kernels::index::gather;

use crate::encoder::Encoded;
use crate::lengths::{by_step, mask};

/// How the outputs h_t of a recurrent network's steps become one vector for the whole sequence. Steps past a sequence's end
/// play no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequencePooling {
    /// The state after the last step, and that of the backward direction after the first.
    Last,
    /// The mean over the steps.
    Mean,
    /// Each feature's largest value.
    Max,
    /// Σ_t a_t h_t, with a = softmax over the steps of v · tanh(W h_t + b) with so many rows of W (Yang et al. 2016,
    /// "Hierarchical attention networks"). Parameters: `pooling.key.weight`, `pooling.key.bias` and `pooling.score.weight`.
    Attention(usize),
}

/// A [`SequencePooling`] with its parameters.
#[derive(Debug)]
pub(crate) struct Pool {
    kind: Kind,
    site: Site,
}

#[derive(Debug)]
enum Kind {
    Last,
    Mean,
    Max,
    Attention { key: Linear, score: Linear },
}

impl Pool {
    pub fn new(pooling: SequencePooling, size: usize, vb: &VarBuilder) -> Result<Self> {
        let vb = vb.pp("pooling");
        let (name, kind) = match pooling {
            SequencePooling::Last => ("LastState", Kind::Last),
            SequencePooling::Mean => ("MeanPooling", Kind::Mean),
            SequencePooling::Max => ("MaxPooling", Kind::Max),
            SequencePooling::Attention(0) => {
                return Err(Error::invalid("rows of the attention pooling", "at least 1", 0).at(vb.path()));
            }
            SequencePooling::Attention(rows) => {
                let key = Linear::new(size, rows, vb.pp("key"))?;
                ("AttentionPooling", Kind::Attention { key, score: Linear::no_bias(rows, 1, vb.pp("score"))? })
            }
        };
        Ok(Self { kind, site: Site::new(vb.path(), name) })
    }

    /// (batch, size).
    pub fn pool(&self, encoded: &Encoded, lengths: Option<&[usize]>, pass: &Pass) -> Result<Tensor> {
        let Encoded { sequence, last } = encoded;
        self.site.run(sequence, pass, || {
            match &self.kind {
                Kind::Last => Ok(last.clone()),
                Kind::Mean => {
                    let whole = vec![sequence.dim(1)?; sequence.dim(0)?];
                    let shares = by_step(lengths.unwrap_or(&whole), sequence, |length| 1.0 / length as f64, 0.0)?;
                    weighted(&shares, sequence)
                }
                Kind::Max => largest(sequence, lengths),
                Kind::Attention { key, score } => {
                    let keys = activation(&key.forward(sequence, pass)?, Activation::Tanh)?;
                    let scores = score.forward(&keys, pass)?.transpose(1, 2)?; // (batch, 1, seq_len)
                    let scores = match lengths {
                        Some(lengths) => scores.broadcast_add(&mask(lengths, sequence)?)?,
                        None => scores,
                    };
                    weighted(&scores.softmax(D::Minus1)?, sequence)
                }
            }
        })
    }
}

/// Σ_t weights_t sequence_t of each sample.
fn weighted(weights: &Tensor, sequence: &Tensor) -> Result<Tensor> {
    Ok(weights.contiguous()?.matmul(&sequence.contiguous()?)?.squeeze(1)?)
}

/// Each feature's largest value. Its first step of those with that value gets the gradient, as in PyTorch; Candle's `max`
/// gives it to all.
fn largest(sequence: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    let values = sequence.detach();
    let values = match lengths {
        Some(lengths) => values.broadcast_add(&mask(lengths, sequence)?.transpose(1, 2)?)?,
        None => values,
    };
    let steps = values.contiguous()?.argmax_keepdim(1)?; // (batch, 1, size)
    Ok(gather(sequence, &steps, 1)?.squeeze(1)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use glassbox_core::{ParamStore, Seed};

    use super::*;

    /// Two features, three steps; the second sample ends after two, and what comes after is not 0 as it would be.
    const STEPS: [[[f64; 2]; 3]; 2] =
        [[[1.0, -6.0], [4.0, -2.0], [1.0, -1.0]], [[3.0, -8.0], [5.0, -4.0], [99.0, 99.0]]];

    fn pooled(pooling: SequencePooling, lengths: Option<&[usize]>) -> Vec<Vec<f64>> {
        let params = ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu);
        let pool = Pool::new(pooling, 2, &params.root()).unwrap();
        let set = |name: &str, values: &[f64]| {
            let Some(param) = params.trainable().into_iter().find(|param| param.name() == name) else { return };
            param.set(&Tensor::new(values, &Device::Cpu).unwrap().reshape(param.shape().clone()).unwrap()).unwrap();
        };
        set("pooling.key.weight", &[0.5, 0.25]);
        set("pooling.key.bias", &[0.1]);
        set("pooling.score.weight", &[2.0]);
        let sequence = Tensor::new(&STEPS, &Device::Cpu).unwrap();
        let last = Tensor::new(&[[7.0, 8.0], [9.0, 10.0]], &Device::Cpu).unwrap();
        pool.pool(&Encoded { sequence, last }, lengths, &Pass::eval()).unwrap().to_vec2().unwrap()
    }

    /// In f64, to a few roundings.
    #[track_caller]
    fn assert_close(got: &[Vec<f64>], want: [[f64; 2]; 2]) {
        for (got, want) in got.iter().flatten().zip(want.as_flattened()) {
            assert!((got - want).abs() <= 1e-12, "expected {want}, got {got}");
        }
    }

    #[test]
    fn each_is_what_it_is_by_hand() {
        let lengths = Some([3, 2].as_slice());
        assert_close(&pooled(SequencePooling::Last, lengths), [[7.0, 8.0], [9.0, 10.0]]);
        assert_close(&pooled(SequencePooling::Mean, lengths), [[2.0, -3.0], [4.0, -6.0]]);
        assert_close(&pooled(SequencePooling::Mean, None), [[2.0, -3.0], [107.0 / 3.0, 29.0]]);
        assert_close(&pooled(SequencePooling::Max, lengths), [[4.0, -1.0], [5.0, -4.0]]);
        assert_close(&pooled(SequencePooling::Max, None), [[4.0, -1.0], [99.0, 99.0]]);
        let attention = |steps: &[[f64; 2]]| {
            let weight = |step: &[f64; 2]| (2.0 * (0.5 * step[0] + 0.25 * step[1] + 0.1).tanh()).exp();
            let total: f64 = steps.iter().map(weight).sum();
            [0, 1].map(|feature| steps.iter().map(|step| weight(step) / total * step[feature]).sum::<f64>())
        };
        let expected = [attention(&STEPS[0]), attention(&STEPS[1][..2])];
        assert_close(&pooled(SequencePooling::Attention(1), lengths), expected);
        let expected = [attention(&STEPS[0]), attention(&STEPS[1])];
        assert_close(&pooled(SequencePooling::Attention(1), None), expected);
    }

    #[test]
    fn of_equal_largest_values_the_first_gets_the_gradient() {
        let sequence = candle_core::Var::new(&[[[2f32], [1.0], [2.0]]], &Device::Cpu).unwrap();
        let gradients = largest(&sequence, None).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&sequence).unwrap().to_vec3::<f32>().unwrap(), [[[1.0], [0.0], [0.0]]]);
    }
}
