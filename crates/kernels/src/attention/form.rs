//! The ways in which inputs hold queries, keys and values.

use candle_core::{Shape, Tensor};

use super::Sizes;
use super::view::Strides;
use crate::Result;

/// How the inputs hold queries, keys and values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Three tensors (batch, heads, len, dim).
    Separate,
    /// One tensor (batch, len, queries and keys and values).
    Packed,
    /// Queries (batch, q_len, all heads), and (batch, kv_len, keys and values).
    PackedKeys,
}

/// Where one of queries, keys and values lies: in which input, from which element of its view on.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub input: usize,
    pub offset: usize,
    pub strides: Strides,
}

impl Form {
    /// The public function's name, for errors.
    pub fn name(self) -> &'static str {
        match self {
            Form::Separate => "attention",
            Form::Packed => "attention_packed",
            Form::PackedKeys => "attention_packed_kv",
        }
    }

    /// The sizes of inputs, checked.
    pub fn sizes(self, inputs: &[&Tensor], num_heads: Option<usize>) -> Result<Sizes> {
        match (self, inputs, num_heads) {
            (Form::Separate, [q, k, v], None) => separate_sizes(self.name(), [q, k, v]),
            (Form::Packed, [qkv], Some(heads)) => {
                let (batch, len, width) = rows(self.name(), "qkv", qkv)?;
                if !width.is_multiple_of(3) {
                    candle_core::bail!("{}: expected qkv (batch, len, 3 * d_model), got {:?}", self.name(), qkv.dims());
                }
                self.packed_sizes(batch, len, len, width / 3, heads)
            }
            (Form::PackedKeys, [q, kv], Some(heads)) => {
                let (batch, q_len, d_model) = rows(self.name(), "q", q)?;
                let (kv_batch, kv_len, width) = rows(self.name(), "kv", kv)?;
                if kv_batch != batch || width != 2 * d_model {
                    let expected = format!("expected kv ({batch}, kv_len, 2 * {d_model})");
                    candle_core::bail!("{}: {expected} for q {:?}, got {:?}", self.name(), q.dims(), kv.dims());
                }
                self.packed_sizes(batch, q_len, kv_len, d_model, heads)
            }
            _ => candle_core::bail!("{}: got {} inputs", self.name(), inputs.len()),
        }
    }

    fn packed_sizes(self, batch: usize, q_len: usize, kv_len: usize, d_model: usize, heads: usize) -> Result<Sizes> {
        if heads == 0 || d_model == 0 || !d_model.is_multiple_of(heads) {
            candle_core::bail!("{}: expected num_heads to divide d_model {d_model}, got {heads}", self.name());
        }
        let dim = d_model / heads;
        Ok(Sizes { batch, heads, kv_heads: heads, q_len, kv_len, head_dim: dim, value_dim: dim })
    }

    /// Queries, keys and values as (batch, heads, len, dim).
    pub fn split(self, inputs: &[&Tensor], sizes: &Sizes) -> Result<[Tensor; 3]> {
        let width = sizes.heads * sizes.head_dim;
        let part = |input: usize, index: usize| {
            let part = inputs[input].narrow(2, index * width, width)?.contiguous()?;
            let (batch, len, _) = part.dims3()?;
            part.reshape((batch, len, sizes.heads, sizes.head_dim))?.transpose(1, 2)
        };
        match self {
            Form::Separate => Ok([inputs[0].clone(), inputs[1].clone(), inputs[2].clone()]),
            Form::Packed => Ok([part(0, 0)?, part(0, 1)?, part(0, 2)?]),
            Form::PackedKeys => Ok([part(0, 0)?, part(1, 0)?, part(1, 1)?]),
        }
    }

    /// The places of queries, keys and values in inputs whose batch items, heads and positions lie so far apart.
    pub fn places(self, sizes: &Sizes, strides: impl Fn(usize) -> Strides) -> [Place; 3] {
        let width = sizes.heads * sizes.head_dim;
        let at = |input, offset| Place { input, offset, strides: strides(input) };
        match self {
            Form::Separate => [at(0, 0), at(1, 0), at(2, 0)],
            Form::Packed => [at(0, 0), at(0, width), at(0, 2 * width)],
            Form::PackedKeys => [at(0, 0), at(1, 0), at(1, width)],
        }
    }

    /// The strides of an input as it is.
    pub fn strides(self, input: &Tensor, sizes: &Sizes) -> Strides {
        match (self, input.stride()) {
            (Form::Separate, &[batch, head, row, _]) => Strides { batch, head, row },
            (_, &[batch, row, _]) => Strides { batch, head: sizes.head_dim, row },
            // No other rank passes the checks of `sizes`.
            _ => Strides { batch: 0, head: 0, row: 0 },
        }
    }

    /// An input's gradient: its shape in memory, (batch, len, …), and the strides there.
    pub fn gradient(self, input: &Tensor, sizes: &Sizes) -> Result<(Shape, Strides)> {
        if self == Form::Separate {
            let (batch, heads, len, dim) = input.dims4()?;
            return Ok(((batch, len, heads, dim).into(), Strides::packed(len, heads * dim, dim)));
        }
        let (batch, len, width) = input.dims3()?;
        Ok(((batch, len, width).into(), Strides::packed(len, width, sizes.head_dim)))
    }
}

fn rows(name: &str, what: &str, xs: &Tensor) -> Result<(usize, usize, usize)> {
    match *xs.dims() {
        [batch, len, width] => Ok((batch, len, width)),
        _ => candle_core::bail!("{name}: expected {what} of three dimensions, got {:?}", xs.dims()),
    }
}

fn separate_sizes(name: &str, [q, k, v]: [&Tensor; 3]) -> Result<Sizes> {
    let (&[batch, heads, q_len, head_dim], &[kv_batch, kv_heads, kv_len, k_dim], &[v_batch, v_heads, v_len, value_dim]) =
        (q.dims(), k.dims(), v.dims())
    else {
        let dims = [q.dims(), k.dims(), v.dims()];
        candle_core::bail!("{name}: expected q, k and v (batch, heads, len, dim), got {dims:?}");
    };
    if (kv_batch, k_dim) != (batch, head_dim) {
        let expected = format!("expected k ({batch}, num_kv_heads, kv_len, {head_dim})");
        candle_core::bail!("{name}: {expected} for q {:?}, got {:?}", q.dims(), k.dims());
    }
    if (v_batch, v_heads, v_len) != (batch, kv_heads, kv_len) {
        let expected = format!("expected v ({batch}, {kv_heads}, {kv_len}, value_dim)");
        candle_core::bail!("{name}: {expected} for k {:?}, got {:?}", k.dims(), v.dims());
    }
    if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) || head_dim == 0 {
        let got = format!("{heads} and {kv_heads} of dimension {head_dim}");
        candle_core::bail!("{name}: expected num_kv_heads to divide num_heads and a head_dim of at least 1, got {got}");
    }
    Ok(Sizes { batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim })
}
