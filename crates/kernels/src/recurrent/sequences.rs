//! Samples of unequal length: the order in which they are computed and where their steps lie.

use std::cmp::Reverse;
use std::ops::Range;

use crate::cpu::{Element, rows};

/// Samples that one job carries through all steps, at most: enough for products at full speed, few enough for many jobs.
const MAX_BLOCK: usize = 16;
/// Jobs that a small batch is cut into.
const MIN_BLOCKS: usize = 2;

/// The valid steps of a batch, packed without padding.
///
/// The samples are taken by falling length, in blocks. In a block, time after time, come the rows of the samples that are
/// running at that time: the first ones.
pub(super) struct Sequences {
    pub seq_len: usize,
    pub num_rows: usize,
    pub blocks: Vec<Block>,
    /// The samples by falling length.
    order: Vec<usize>,
}

/// Samples that run together.
pub(super) struct Block {
    /// The samples, of falling length.
    samples: Vec<usize>,
    /// The row of each time's first sample, and that after the last.
    first_rows: Vec<usize>,
    seq_len: usize,
}

impl Sequences {
    /// `batch` samples of `lengths`, at most `seq_len` each, which is also the length where none are given.
    pub fn new(batch: usize, seq_len: usize, lengths: Option<&[usize]>) -> Self {
        let length = |sample: usize| lengths.map_or(seq_len, |lengths| lengths[sample]);
        let mut order: Vec<usize> = (0..batch).collect();
        order.sort_by_key(|&sample| Reverse(length(sample)));
        let block = batch.div_ceil(MIN_BLOCKS).clamp(1, MAX_BLOCK);
        let blocks: Vec<_> = order.chunks(block).map(|samples| Block::new(samples, seq_len, length)).collect();
        let num_rows = blocks.iter().map(Block::num_rows).sum();
        Self { seq_len, num_rows, blocks, order }
    }

    pub fn batch(&self) -> usize {
        self.order.len()
    }

    /// For each packed row, the row (sample, time) of the batch.
    fn batch_rows(&self) -> Vec<usize> {
        self.blocks.iter().flat_map(Block::batch_rows).collect()
    }

    /// `xs` (batch, seq_len, width), packed into `out`.
    pub fn pack<T: Element>(&self, xs: &[T], width: usize, out: &mut [T]) {
        let batch_rows = self.batch_rows();
        rows(out, width, |row, out| out.copy_from_slice(&xs[batch_rows[row] * width..][..width]));
    }

    /// `packed` as (batch, seq_len, width), with zeros beyond each sample's length.
    pub fn unpack<T: Element>(&self, packed: &[T], width: usize) -> Vec<T> {
        let mut packed_rows = vec![None; self.batch() * self.seq_len];
        self.batch_rows().iter().enumerate().for_each(|(row, &batch_row)| packed_rows[batch_row] = Some(row));
        let mut xs = vec![T::zero(); packed_rows.len() * width];
        rows(&mut xs, width, |batch_row, xs| {
            if let Some(row) = packed_rows[batch_row] {
                xs.copy_from_slice(&packed[row * width..][..width]);
            }
        });
        xs
    }

    /// `states` (batch, width), or zeros, in the order of computation.
    pub fn in_order<T: Element>(&self, states: Option<&[T]>, width: usize) -> Vec<T> {
        match states {
            Some(states) => self.order.iter().flat_map(|i| &states[i * width..][..width]).copied().collect(),
            None => vec![T::zero(); self.batch() * width],
        }
    }

    /// `states` in the order of computation as (batch, width).
    pub fn by_sample<T: Element>(&self, states: &[T], width: usize) -> Vec<T> {
        let mut by_sample = vec![T::zero(); states.len()];
        for (i, sample) in self.order.iter().enumerate() {
            by_sample[sample * width..][..width].copy_from_slice(&states[i * width..][..width]);
        }
        by_sample
    }
}

impl Block {
    fn new(samples: &[usize], seq_len: usize, length: impl Fn(usize) -> usize) -> Self {
        let num_steps = samples.first().map_or(0, |&sample| length(sample));
        let running = |time: usize| samples.partition_point(|&sample| length(sample) > time);
        let mut first_rows = vec![0];
        for time in 0..num_steps {
            first_rows.push(first_rows[time] + running(time));
        }
        Self { samples: samples.to_vec(), first_rows, seq_len }
    }

    pub fn num_samples(&self) -> usize {
        self.samples.len()
    }

    pub fn num_rows(&self) -> usize {
        self.first_rows[self.num_steps()]
    }

    /// The length of the longest sample.
    pub fn num_steps(&self) -> usize {
        self.first_rows.len() - 1
    }

    /// The rows of a range of times, counted in the block.
    pub fn rows(&self, times: Range<usize>) -> Range<usize> {
        self.first_rows[times.start]..self.first_rows[times.end]
    }

    /// The rows of one time among all rows of the block in the order of computation; none beyond the last time.
    pub fn steps(&self, time: usize, reverse: bool) -> Range<usize> {
        if time >= self.num_steps() {
            return 0..0;
        }
        let rows = self.rows(time..time + 1);
        if reverse { self.num_rows() - rows.end..self.num_rows() - rows.start } else { rows }
    }

    /// The row (sample, time) of the batch of sample `i` of the block.
    #[inline(always)]
    pub fn batch_row(&self, time: usize, i: usize) -> usize {
        self.samples[i] * self.seq_len + time
    }

    /// The rows of the batch in packed order.
    pub fn batch_rows(&self) -> impl Iterator<Item = usize> {
        let rows_at = |time: usize| self.rows(time..time + 1).enumerate();
        (0..self.num_steps()).flat_map(move |time| rows_at(time).map(move |(i, _)| self.batch_row(time, i)))
    }
}

/// A range from its end to its start if `reverse`, else from start to end.
pub(super) fn directed(range: Range<usize>, reverse: bool) -> impl Iterator<Item = usize> {
    range.clone().map(move |i| if reverse { range.start + range.end - 1 - i } else { i })
}
