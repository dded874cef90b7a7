//! Which query sees which key: the parameters and masks of a call, checked and in the form that the kernels use.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::{AttentionMask, AttentionParams, Sizes};
use crate::Result;
use crate::cpu::{Dropout, Element, Kept, check_same_kind};

/// Everything about a call but its values.
pub(super) struct Rules {
    pub scale: f64,
    pub dropout: Option<Dropout>,
    causal: bool,
    window: Option<i64>,
    /// Key position of the first query: the masks are aligned at the end.
    offset: i64,
    heads: usize,
    kv_len: usize,
    /// For each batch item the number of keys up to the last one that may be seen.
    ends: Vec<usize>,
    /// (batch, kv_len), zero where a key is hidden; absent where `ends` says it all.
    kept: Option<Vec<u8>>,
    /// Added to the scores, as a view of (batch, heads, q_len, kv_len).
    pub additive: Option<Tensor>,
}

impl Rules {
    pub fn new(
        name: &str,
        sizes: &Sizes,
        like: &Tensor,
        mask: Option<&AttentionMask>,
        params: &AttentionParams,
    ) -> Result<Self> {
        let scale = params.scale.unwrap_or(1.0 / (sizes.head_dim as f64).sqrt());
        if !scale.is_finite() {
            candle_core::bail!("{name}: expected a finite scale, got {scale}");
        }
        if params.window == Some(0) {
            candle_core::bail!("{name}: expected a window of at least 1, got 0");
        }
        let dropout = params.dropout.map(|(p, seed)| Dropout::new(name, p, seed)).transpose()?;
        let empty = AttentionMask::default();
        let mask = mask.unwrap_or(&empty);
        let (ends, kept) = visible_keys(name, sizes, mask)?;
        Ok(Self {
            scale,
            dropout: dropout.filter(|_| params.dropout.is_some_and(|(p, _)| p > 0.0)),
            causal: params.causal,
            window: params.window.map(|w| w.min(u32::MAX as usize) as i64),
            offset: sizes.kv_len as i64 - sizes.q_len as i64,
            heads: sizes.heads,
            kv_len: sizes.kv_len,
            ends,
            kept,
            additive: mask.additive.as_ref().map(|m| additive(name, sizes, like, m)).transpose()?,
        })
    }

    /// The keys that at least one of `queries` may see lie in this range.
    pub fn keys_of(&self, batch: usize, queries: &Range<usize>) -> Range<usize> {
        let first = queries.start as i64 + self.offset;
        let last = queries.end as i64 - 1 + self.offset;
        let start = self.window.map_or(0, |w| first - w + 1);
        let end = match self.window {
            _ if self.causal => last + 1,
            Some(w) => last + w,
            None => i64::MAX,
        };
        let limit = self.ends[batch] as i64;
        let end = end.clamp(0, limit);
        start.clamp(0, end) as usize..end as usize
    }

    /// The ones of `queries` that may see `key` by its distance, counted from the first of them.
    #[inline(always)]
    fn queries_of(&self, key: usize, queries: &Range<usize>) -> Range<usize> {
        let same_place = key as i64 - self.offset - queries.start as i64;
        let start = match self.window {
            _ if self.causal => same_place,
            Some(w) => same_place - w + 1,
            None => 0,
        };
        let end = self.window.map_or(i64::MAX, |w| same_place + w);
        let end = end.clamp(0, queries.len() as i64);
        start.clamp(0, end) as usize..end as usize
    }

    /// Whether a query may see a key.
    pub fn sees(&self, batch: usize, query: usize, key: usize) -> bool {
        key < self.ends[batch]
            && self.kept.as_ref().is_none_or(|kept| kept[batch * self.kv_len + key] != 0)
            && !self.queries_of(key, &(query..query + 1)).is_empty()
    }

    /// Whether anything can be hidden inside a range of [`Rules::keys_of`].
    pub fn hides(&self) -> bool {
        self.causal || self.window.is_some() || self.kept.is_some()
    }

    /// Masks scores (keys, width), whose columns are queries: adds the additive mask, and −∞ where a key is hidden.
    #[inline(always)]
    pub fn mask<T: Element>(&self, scores: &mut [T], width: usize, tile: &Tile, additive: Option<&Additive<T>>) {
        if !self.hides() && additive.is_none() {
            return;
        }
        let hidden = T::from_f64(f64::NEG_INFINITY);
        for (row, key) in scores.chunks_mut(width).zip(tile.keys.clone()) {
            if self.kept.as_ref().is_some_and(|kept| kept[tile.batch * self.kv_len + key] == 0) {
                row.fill(hidden);
                continue;
            }
            if let Some(additive) = additive {
                additive.add(row, tile, key);
            }
            let visible = self.queries_of(key, &tile.queries);
            row[..visible.start].fill(hidden);
            row[visible.end..].fill(hidden);
        }
    }

    /// What dropout multiplies the probabilities of one key by, as a function of the query's position.
    #[inline(always)]
    pub fn kept<T: Element>(&self, dropout: &Dropout, batch: usize, head: usize, key: usize) -> Kept<T> {
        dropout.row(((batch * self.heads + head) * self.kv_len + key) as u64)
    }
}

/// A block of scores: some keys by some queries of one head.
pub(super) struct Tile {
    pub batch: usize,
    pub head: usize,
    pub queries: Range<usize>,
    pub keys: Range<usize>,
}

/// The additive mask's values.
pub(super) struct Additive<'a, T> {
    data: &'a [T],
    /// Of batch, head, query and key; 0 where the mask is broadcast.
    strides: [usize; 4],
}

impl<'a, T: Element> Additive<'a, T> {
    /// The values `data` of a mask of four dimensions.
    pub fn new(data: &'a [T], mask: &Tensor) -> Self {
        Self { data, strides: std::array::from_fn(|i| mask.stride().get(i).copied().unwrap_or(0)) }
    }

    /// Adds the mask of one key to its scores by query, which are logarithms to base 2.
    #[inline(always)]
    fn add(&self, scores: &mut [T], tile: &Tile, key: usize) {
        let to_base_2 = T::from_f64(std::f64::consts::LOG2_E);
        let [batch, head, query, of_key] = self.strides;
        let start = tile.batch * batch + tile.head * head + tile.queries.start * query + key * of_key;
        let scores = &mut scores[..tile.queries.len()];
        if query == 0 {
            let value = self.data[start] * to_base_2;
            scores.iter_mut().for_each(|score| *score += value);
        } else {
            let values = self.data[start..].iter().step_by(query);
            scores.iter_mut().zip(values).for_each(|(score, &value)| *score += value * to_base_2);
        }
    }
}

/// The additive mask as a view of (batch, heads, q_len, kv_len).
fn additive(name: &str, sizes: &Sizes, like: &Tensor, mask: &Tensor) -> Result<Tensor> {
    check_same_kind(name, like, "an additive mask", mask)?;
    if mask.track_op() {
        candle_core::bail!("{name}: the additive mask gets no gradient: detach it, or add it to scores of your own");
    }
    let scores = (sizes.batch, sizes.heads, sizes.q_len, sizes.kv_len);
    mask.broadcast_as(scores).map_err(|_| {
        let scores = [sizes.batch, sizes.heads, sizes.q_len, sizes.kv_len];
        candle_core::Error::Msg(format!("{name}: expected an additive mask for {scores:?}, got {:?}", mask.dims()))
    })
}

/// The number of keys up to the last visible one, and the visible ones where there are gaps before it.
fn visible_keys(name: &str, sizes: &Sizes, mask: &AttentionMask) -> Result<(Vec<usize>, Option<Vec<u8>>)> {
    let Sizes { batch, kv_len, .. } = *sizes;
    let mut ends = vec![kv_len; batch];
    if let Some(lengths) = &mask.lengths {
        if lengths.len() != batch || lengths.iter().any(|&len| len > kv_len) {
            candle_core::bail!("{name}: expected {batch} lengths of at most {kv_len}, got {lengths:?}");
        }
        ends.copy_from_slice(lengths);
    }
    let Some(padding) = &mask.padding else {
        return Ok((ends, None));
    };
    if padding.dims() != [batch, kv_len] || !matches!(padding.dtype(), DType::U8 | DType::U32 | DType::I64) {
        let (dims, dtype) = (padding.dims(), padding.dtype());
        candle_core::bail!("{name}: expected a padding mask [{batch}, {kv_len}] of integers, got {dims:?} {dtype:?}");
    }
    let kept = padding.ne(0u8)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u8>()?;
    let mut gaps = false;
    for (end, kept) in ends.iter_mut().zip(kept.chunks(kv_len.max(1))) {
        *end = kept[..*end].iter().rposition(|&k| k != 0).map_or(0, |last| last + 1);
        gaps |= kept[..*end].contains(&0);
    }
    Ok((ends, gaps.then_some(kept)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the documentation of causal and window says, in so many words.
    fn expected(params: &AttentionParams, q_len: usize, kv_len: usize, query: usize, key: usize) -> bool {
        let (query, key) = ((query + kv_len) as i64 - q_len as i64, key as i64);
        let within = params.window.is_none_or(|window| query.abs_diff(key) < window as u64);
        within && (!params.causal || key <= query)
    }

    #[test]
    fn sees_what_the_documentation_says() {
        let like = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        for (q_len, kv_len) in [(6, 6), (3, 8), (8, 3), (1, 5)] {
            let sizes = Sizes { batch: 1, heads: 1, kv_heads: 1, q_len, kv_len, head_dim: 1, value_dim: 1 };
            for (causal, window) in [(true, None), (true, Some(1)), (true, Some(3)), (false, Some(2)), (false, None)] {
                let params = AttentionParams { causal, window, ..Default::default() };
                let rules = Rules::new("test", &sizes, &like, None, &params).unwrap();
                for (query, key) in (0..q_len).flat_map(|query| (0..kv_len).map(move |key| (query, key))) {
                    let want = expected(&params, q_len, kv_len, query, key);
                    assert_eq!(rules.sees(0, query, key), want, "{params:?} {q_len} {kv_len}: {query} {key}");
                    assert!(!want || rules.keys_of(0, &(query..query + 1)).contains(&key));
                }
                // No more keys than the queries need.
                let keys = rules.keys_of(0, &(0..q_len));
                let seen = |key: &usize| (0..q_len).any(|query| expected(&params, q_len, kv_len, query, *key));
                assert_eq!(keys.collect::<Vec<_>>(), (0..kv_len).filter(seen).collect::<Vec<_>>());
            }
        }
    }

    /// Keys after the last visible one are cut off; only gaps before it need a mask.
    #[test]
    fn padding_at_the_end_is_a_length() {
        let sizes = Sizes { batch: 2, heads: 1, kv_heads: 1, q_len: 1, kv_len: 3, head_dim: 1, value_dim: 1 };
        let of = |padding: [[u8; 3]; 2], lengths: Option<Vec<usize>>| {
            let padding = Some(Tensor::new(&padding, &Device::Cpu).unwrap());
            visible_keys("test", &sizes, &AttentionMask { padding, lengths, additive: None }).unwrap()
        };
        assert_eq!(of([[1, 7, 0], [1, 0, 0]], None), (vec![2, 1], None));
        assert_eq!(of([[1, 1, 1], [0, 0, 0]], None), (vec![3, 0], None));
        assert_eq!(of([[1, 0, 1], [1, 1, 1]], None), (vec![3, 3], Some(vec![1, 0, 1, 1, 1, 1])));
        assert_eq!(of([[1, 0, 1], [1, 1, 1]], Some(vec![2, 2])), (vec![1, 2], None));
    }
}
