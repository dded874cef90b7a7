//! Scaled dot-product attention in memory that grows with the length, not with its square.
//!
//! Vaswani et al. 2017, arXiv 1706.03762. The blocked computation follows Rabe and Staats 2021, arXiv 2112.05682, and
//! Dao et al. 2022, arXiv 2205.14135, and Dao 2023, arXiv 2307.08691: a block of scores lives only in a core's cache, and
//! backward computes it again.

mod backward;
mod composed;
mod engine;
mod form;
mod forward;
mod op;
mod rules;
#[cfg(test)]
mod tests;
mod view;

use candle_core::Tensor;

use crate::Result;
use crate::cpu::{by_float, check_same_kind, is_fused, reshape};

use form::Form;
use op::in_rows;
use rules::Rules;

/// How [`attention`] is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionParams {
    /// Whether a query sees only keys up to its own position. The positions are aligned at the end: of `kv_len` keys, the
    /// queries are the last `q_len`, as when earlier keys come from a cache. PyTorch's `is_causal` aligns them at the
    /// start; where `q_len` equals `kv_len` there is no difference.
    pub causal: bool,
    /// How far a query sees: its own position and the `window - 1` before it; unless `causal`, as many after it. At least
    /// 1. Positions are aligned as for `causal`.
    pub window: Option<usize>,
    /// What the products of queries and keys are multiplied by; 1 / √head_dim by default.
    pub scale: Option<f64>,
    /// The probability, from 0 to 1, with which each attention probability is set to 0, the others being multiplied by
    /// 1 / (1 − probability); and the seed that decides which. The same seed drops the same ones: give each step its own.
    pub dropout: Option<(f64, u64)>,
}

/// What queries may not see, beside what [`AttentionParams`] says: a key is seen where all given masks let it be seen.
#[derive(Clone, Debug, Default)]
pub struct AttentionMask {
    /// (batch, kv_len) of u8, u32 or i64: non-zero where there is a key, 0 where there is padding. PyTorch's
    /// `key_padding_mask` is the opposite; tokenizers' and Hugging Face's `attention_mask` is this.
    pub padding: Option<Tensor>,
    /// For each batch item the number of its keys, at most `kv_len`; those after are padding and cost nothing.
    pub lengths: Option<Vec<usize>>,
    /// Added to the scaled scores: of the inputs' element type, broadcastable to (batch, num_heads, q_len, kv_len).
    /// −∞ hides a key. It gets no gradient.
    pub additive: Option<Tensor>,
}

impl AttentionMask {
    /// A mask of padding alone: see [`AttentionMask::padding`](#structfield.padding).
    pub fn padding(mask: &Tensor) -> Self {
        Self { padding: Some(mask.clone()), ..Self::default() }
    }

    /// A mask of lengths alone: see [`AttentionMask::lengths`](#structfield.lengths).
    pub fn lengths(lengths: impl Into<Vec<usize>>) -> Self {
        Self { lengths: Some(lengths.into()), ..Self::default() }
    }

    /// An additive mask alone: see [`AttentionMask::additive`](#structfield.additive).
    pub fn additive(mask: &Tensor) -> Self {
        Self { additive: Some(mask.clone()), ..Self::default() }
    }
}

/// Scaled dot-product attention: softmax(scale · q kᵀ + mask) v.
///
/// Differs from PyTorch's `scaled_dot_product_attention` where a query sees no key at all (or every score is −∞): the
/// result is 0 and so are its gradients, where PyTorch gives NaN; and in how unequal lengths are aligned, see
/// [`AttentionParams::causal`].
///
/// # Shapes
/// `q` (batch, num_heads, q_len, head_dim), `k` (batch, num_kv_heads, kv_len, head_dim), `v` (batch, num_kv_heads, kv_len,
/// value_dim), where `num_kv_heads` divides `num_heads` (grouped-query attention; Ainslie et al. 2023, arXiv 2305.13245:
/// query heads i · group up to (i + 1) · group share head i of the keys). The result is (batch, num_heads, q_len,
/// value_dim).
///
/// On the CPU, transposes of (batch, len, heads, dim) are read in place, and the result is one in memory: transposing it
/// back and flattening the heads copies nothing.
///
/// # Errors
/// Where shapes, element types or devices disagree, a mask does not fit, or a parameter is out of its range.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_kernels::attention::{AttentionMask, AttentionParams, attention};
///
/// # fn main() -> candle_core::Result<()> {
/// let q = Tensor::randn(0f32, 1.0, (2, 4, 10, 8), &Device::Cpu)?;
/// let kv = Tensor::randn(0f32, 1.0, (2, 2, 10, 8), &Device::Cpu)?;
/// let params = AttentionParams { causal: true, ..Default::default() };
/// let ys = attention(&q, &kv, &kv, Some(&AttentionMask::lengths([10, 7])), &params)?;
/// assert_eq!(ys.dims(), [2, 4, 10, 8]);
/// # Ok(())
/// # }
/// ```
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&AttentionMask>,
    params: &AttentionParams,
) -> Result<Tensor> {
    attend(Form::Separate, &[q, k, v], None, mask, params, Blocks::default())?.transpose(1, 2)
}

/// [`attention`] of queries, keys and values side by side, as one projection makes them.
///
/// # Shapes
/// `qkv` (batch, len, 3 · d_model): in each position the queries of all heads, then the keys, then the values, the order of
/// PyTorch's `in_proj_weight`; `num_heads` divides d_model. The result is (batch, len, d_model).
///
/// # Errors
/// As [`attention`].
pub fn attention_packed(
    qkv: &Tensor,
    num_heads: usize,
    mask: Option<&AttentionMask>,
    params: &AttentionParams,
) -> Result<Tensor> {
    merge_heads(&attend(Form::Packed, &[qkv], Some(num_heads), mask, params, Blocks::default())?)
}

/// [`attention`] of queries, and of keys and values side by side, as the projections of cross-attention make them.
///
/// # Shapes
/// `q` (batch, q_len, d_model); `kv` (batch, kv_len, 2 · d_model): in each position the keys of all heads, then the values;
/// `num_heads` divides d_model. The result is (batch, q_len, d_model).
///
/// # Errors
/// As [`attention`].
pub fn attention_packed_kv(
    q: &Tensor,
    kv: &Tensor,
    num_heads: usize,
    mask: Option<&AttentionMask>,
    params: &AttentionParams,
) -> Result<Tensor> {
    merge_heads(&attend(Form::PackedKeys, &[q, kv], Some(num_heads), mask, params, Blocks::default())?)
}

/// The sizes of a call.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    q_len: usize,
    kv_len: usize,
    head_dim: usize,
    value_dim: usize,
}

impl Sizes {
    /// How many heads of queries share a head of keys and values.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Queries and keys in a block of scores at most.
#[derive(Clone, Copy)]
struct Blocks {
    queries: usize,
    keys: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        // In f32 a block of scores takes 32 KiB; backward, which has two, stays well inside a core's second-level cache.
        // Few queries to a block let causal attention skip more, and products are no slower for it.
        Self { queries: 32, keys: 256 }
    }
}

/// (batch, len, heads, dim) to (batch, len, heads · dim).
fn merge_heads(ys: &Tensor) -> Result<Tensor> {
    let (batch, len, heads, dim) = ys.dims4()?;
    reshape(ys, (batch, len, heads * dim))
}

/// Attention of checked inputs, (batch, q_len, num_heads, value_dim).
fn attend(
    form: Form,
    inputs: &[&Tensor],
    num_heads: Option<usize>,
    mask: Option<&AttentionMask>,
    params: &AttentionParams,
    blocks: Blocks,
) -> Result<Tensor> {
    let name = form.name();
    let sizes = form.sizes(inputs, num_heads)?;
    for input in &inputs[1..] {
        check_same_kind(name, inputs[0], "all inputs", input)?;
    }
    let rules = Rules::new(name, &sizes, inputs[0], mask, params)?;
    if !is_fused(inputs[0]) {
        let [q, k, v] = form.split(inputs, &sizes)?;
        return composed::attention(&q, &k, &v, &sizes, &rules)?.transpose(1, 2);
    }
    let inputs = inputs.iter().map(|input| in_rows(input)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    by_float!(name, inputs[0].dtype(), T => op::attention::<T>(form, sizes, &inputs, rules, blocks))
}
