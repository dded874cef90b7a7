//! Samples of unequal length: the order in which they are computed and where their steps lie.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;

use crate::cpu::Element;

/// Samples that one job carries through all steps: enough for a product at full speed, few enough for many jobs.
const BLOCK: usize = 16;

/// The valid steps of a batch, packed: one row for each, sample after sample in the order of falling length, so that the
/// samples that are still running at a step are the first ones of their block.
pub(super) struct Sequences {
    pub seq_len: usize,
    /// The samples by falling length.
    order: Vec<usize>,
    /// Their lengths.
    lengths: Vec<usize>,
    /// The first row of each.
    first_rows: Vec<usize>,
    pub num_rows: usize,
}

impl Sequences {
    /// `batch` samples of `lengths`, at most `seq_len` each, which is also the length where none are given.
    pub fn new(batch: usize, seq_len: usize, lengths: Option<&[usize]>) -> Self {
        let length = |&sample: &usize| lengths.map_or(seq_len, |lengths| lengths[sample]);
        let mut order: Vec<usize> = (0..batch).collect();
        order.sort_by_key(|sample| Reverse(length(sample)));
        let lengths: Vec<usize> = order.iter().map(length).collect();
        let mut num_rows = 0;
        let mut first_row = |length: &usize| {
            num_rows += length;
            num_rows - length
        };
        let first_rows = lengths.iter().map(&mut first_row).collect();
        Self { seq_len, order, lengths, first_rows, num_rows }
    }

    pub fn batch(&self) -> usize {
        self.order.len()
    }

    /// Whether the packed rows are those of the batch as it is.
    fn is_whole(&self) -> bool {
        self.num_rows == self.batch() * self.seq_len
    }

    /// The blocks of samples that run together.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let starts = (0..self.batch()).step_by(BLOCK);
        starts.map(|start| Block { all: self, samples: start..(start + BLOCK).min(self.batch()) })
    }

    /// For each packed row of these samples, the row (sample, time) of the batch.
    fn batch_rows(&self, samples: Range<usize>) -> impl Iterator<Item = usize> {
        samples.flat_map(|i| {
            let start = self.order[i] * self.seq_len;
            start..start + self.lengths[i]
        })
    }

    /// The packed rows of `xs` (batch, seq_len, width).
    pub fn pack<'a, T: Element>(&self, xs: &'a [T], width: usize) -> Cow<'a, [T]> {
        if self.is_whole() {
            return Cow::Borrowed(xs);
        }
        let mut packed = Vec::with_capacity(self.num_rows * width);
        self.batch_rows(0..self.batch()).for_each(|row| packed.extend_from_slice(&xs[row * width..][..width]));
        Cow::Owned(packed)
    }

    /// `packed` as (batch, seq_len, width), with zeros beyond each sample's length.
    pub fn unpack<T: Element>(&self, packed: Vec<T>, width: usize) -> Vec<T> {
        if self.is_whole() {
            return packed;
        }
        let mut xs = vec![T::zero(); self.batch() * self.seq_len * width];
        for (i, row) in self.batch_rows(0..self.batch()).enumerate() {
            xs[row * width..][..width].copy_from_slice(&packed[i * width..][..width]);
        }
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

/// Samples that run together.
pub(super) struct Block<'a> {
    all: &'a Sequences,
    samples: Range<usize>,
}

impl Block<'_> {
    /// The samples' positions in the order of computation.
    pub fn samples(&self) -> Range<usize> {
        self.samples.clone()
    }

    /// Their packed rows.
    pub fn rows(&self) -> Range<usize> {
        let end = self.all.first_rows.get(self.samples.end).copied().unwrap_or(self.all.num_rows);
        self.all.first_rows[self.samples.start]..end
    }

    fn lengths(&self) -> &[usize] {
        &self.all.lengths[self.samples()]
    }

    /// Steps until the last sample ends.
    pub fn num_steps(&self) -> usize {
        self.lengths().first().copied().unwrap_or(0)
    }

    /// How many samples run at least `step + 1` steps: the first ones.
    pub fn running(&self, step: usize) -> usize {
        self.lengths().partition_point(|&length| length > step)
    }

    /// Where sample `i` of the block is at `step`, in the direction of computation.
    pub fn place(&self, i: usize, step: usize, reverse: bool) -> Place {
        let at = self.samples.start + i;
        let length = self.all.lengths[at];
        let time = if reverse { length - 1 - step } else { step };
        Place {
            row: self.all.first_rows[at] - self.all.first_rows[self.samples.start] + time,
            batch_row: self.all.order[at] * self.all.seq_len + time,
        }
    }

    /// The rows of the batch of all steps of the block, in packed order.
    pub fn batch_rows(&self) -> impl Iterator<Item = usize> {
        self.all.batch_rows(self.samples())
    }
}

/// One step of one sample.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Among the packed rows of the block.
    pub row: usize,
    /// Among the rows (sample, time) of the batch.
    pub batch_row: usize,
}
