//! The paths of one sample: L labels with blanks around them, over T steps.
//!
//! At each step a path stands on one of L labels or one of the L + 1 blanks between and around them. From one step to the
//! next it stays, goes on to what follows, or skips the blank between two labels that differ. A row holds for one step the
//! logarithms of the probabilities of all beginnings of paths that end there, the blanks' first, then the labels': two
//! lists that are each made by one loop over neighbours in memory. The endings of paths are the beginnings of the reversed
//! ones.
//!
//! Each row is kept relative to its largest element, the sum of those in f64. What is impossible has the logarithm
//! [`FLOOR`] or about that, so that nothing but NaN ever makes NaN.

use crate::cpu::{Float, simd, sum_by};
use crate::softmax::max_of;

/// Stands for the logarithm of 0: finite, so that differences of it are.
const FLOOR: f64 = -1e30;
/// Below this a logarithm stands for 0; real ones do not come near it.
const IMPOSSIBLE: f64 = -1e29;

/// One sample: log-probabilities as they are needed, and the labels.
pub(super) struct Lattice<'a, T> {
    /// (T, classes).
    logits: &'a [T],
    classes: usize,
    /// The largest logit of each step, and the logarithm of the sum of the exponentials of their distances to it.
    norms: Vec<(T, T)>,
    blank: u32,
    labels: &'a [u32],
}

/// The labels in one of the two directions.
struct Way<T> {
    labels: Vec<u32>,
    /// For each label 0 where a path can come to it from the label before, else [`FLOOR`].
    skips: Vec<T>,
    /// Log-probabilities of the labels at one step.
    of_labels: Vec<T>,
}

impl<T: Float> Way<T> {
    fn new(labels: Vec<u32>) -> Self {
        let from_before = |i: usize| if i > 0 && labels[i] != labels[i - 1] { T::zero() } else { T::from_f64(FLOOR) };
        let skips = (0..labels.len()).map(from_before).collect();
        Self { skips, of_labels: vec![T::zero(); labels.len()], labels }
    }
}

impl<'a, T: Float> Lattice<'a, T> {
    pub fn new(logits: &'a [T], classes: usize, blank: u32, labels: &'a [u32]) -> Self {
        let norm = |xs: &[T]| {
            simd(
                #[inline(always)]
                || {
                    let max = max_of(xs);
                    (max, T::from_f64(sum_by(xs.len(), |c| (xs[c] - max).exp()).ln()))
                },
            )
        };
        Self { logits, classes, norms: logits.chunks(classes).map(norm).collect(), blank, labels }
    }

    /// Minus the logarithm of the probability of the labels, infinite where that is 0. With room for it, the gradient is
    /// written to `gradient` (T, classes).
    pub fn loss(&self, gradient: &mut [T]) -> f64 {
        let (num_steps, width) = (self.norms.len(), self.width());
        T::with_scratch((num_steps + 1) * width, |rows| {
            let mut way = Way::new(self.labels.to_vec());
            self.start(&mut rows[..width]);
            let mut log_scale = 0.0;
            for step in 0..num_steps {
                let (before, row) = rows[step * width..][..2 * width].split_at_mut(width);
                let Some(max) = self.advance(step, &mut way, before, row) else { return f64::INFINITY };
                log_scale += max;
            }
            let (blanks, labels) = rows[num_steps * width..].split_at(self.labels.len() + 1);
            let end = match labels.last() {
                Some(&label) => log_add(blanks[labels.len()], label),
                None => blanks[0],
            };
            if end.to_f64() < IMPOSSIBLE {
                return f64::INFINITY;
            }
            if !gradient.is_empty() {
                self.gradient(&rows[width..], &way, gradient);
            }
            -(log_scale + end.to_f64())
        })
    }

    /// Elements of a row.
    fn width(&self) -> usize {
        2 * self.labels.len() + 1
    }

    /// The row before the first step: all paths are to begin as if they came from the first blank.
    fn start(&self, row: &mut [T]) {
        row.fill(T::from_f64(FLOOR));
        row[0] = T::zero();
    }

    fn log_prob(&self, step: usize, class: u32) -> T {
        let (max, log_sum) = self.norms[step];
        let log_prob = (self.logits[step * self.classes + class as usize] - max) - log_sum;
        // NaN fails the comparison and stays.
        if log_prob < T::from_f64(FLOOR) { T::from_f64(FLOOR) } else { log_prob }
    }

    /// Makes `row` from that of the step `before`; gives its largest element, which is taken off, or `None` where no path
    /// is possible.
    fn advance(&self, step: usize, way: &mut Way<T>, before: &[T], row: &mut [T]) -> Option<f64> {
        let of_blank = self.log_prob(step, self.blank);
        way.of_labels.iter_mut().zip(&way.labels).for_each(|(log_prob, &label)| *log_prob = self.log_prob(step, label));
        simd(
            #[inline(always)]
            || {
                add_step(before, row, &way.skips, of_blank, &way.of_labels);
                let max = max_of(row);
                row.iter_mut().for_each(|x| *x -= max);
                match max.to_f64() {
                    // Where nothing is a number there is no largest one.
                    f64::NEG_INFINITY => Some(f64::NAN),
                    max => Some(max).filter(|&max| max >= IMPOSSIBLE),
                }
            },
        )
    }

    /// The softmax less the posterior probability of every class at every step. `beginnings` are the rows of all steps.
    fn gradient(&self, beginnings: &[T], forward: &Way<T>, gradient: &mut [T]) {
        let (width, num_labels) = (self.width(), self.labels.len());
        let mut way = Way::new(self.labels.iter().rev().copied().collect());
        let (mut row, mut before, mut weights) =
            (vec![T::zero(); width], vec![T::zero(); width], vec![T::zero(); width]);
        self.start(&mut before);
        for (step, gradient) in gradient.chunks_mut(self.classes).enumerate().rev() {
            // Of the paths that are possible from the left, some are from the right too.
            self.advance(step, &mut way, &before, &mut row);
            let share = simd(
                #[inline(always)]
                || {
                    self.softmax(step, gradient);
                    let of_blank = self.log_prob(step, self.blank);
                    let beginnings = &beginnings[step * width..][..width];
                    join(beginnings, &row, of_blank, &way.of_labels, &mut weights);
                    let max = max_of(&weights);
                    weights.iter_mut().for_each(|x| *x = (*x - max).exp());
                    T::from_f64(1.0 / sum_by(width, |i| weights[i]))
                },
            );
            let (blanks, labels) = weights.split_at(num_labels + 1);
            gradient[self.blank as usize] -= share * T::from_f64(sum_by(blanks.len(), |i| blanks[i]));
            for (&label, &weight) in forward.labels.iter().zip(labels) {
                gradient[label as usize] -= share * weight;
            }
            std::mem::swap(&mut row, &mut before);
        }
    }

    #[inline(always)]
    fn softmax(&self, step: usize, out: &mut [T]) {
        let (max, log_sum) = self.norms[step];
        let logits = &self.logits[step * self.classes..][..out.len()];
        out.iter_mut().zip(logits).for_each(|(out, &x)| *out = ((x - max) - log_sum).exp());
    }
}

/// ln(e^a + e^b).
#[inline(always)]
fn log_add<T: Float>(a: T, b: T) -> T {
    let larger = if b > a { b } else { a };
    larger + (-(a - b).abs()).exp().ln_1p_unit()
}

/// One step of all paths, from the row `before` to `row`.
#[inline(always)]
fn add_step<T: Float>(before: &[T], row: &mut [T], skips: &[T], of_blank: T, of_labels: &[T]) {
    let num_labels = of_labels.len();
    let (old_blanks, old_labels) = before.split_at(num_labels + 1);
    let (blanks, labels) = row.split_at_mut(num_labels + 1);
    blanks[0] = old_blanks[0] + of_blank;
    for ((new, &stays), &follows) in blanks[1..].iter_mut().zip(&old_blanks[1..]).zip(old_labels) {
        *new = log_add(stays, follows) + of_blank;
    }
    let Some((first, rest)) = labels.split_first_mut() else { return };
    *first = log_add(old_labels[0], old_blanks[0]) + of_labels[0];
    let from = old_labels[1..].iter().zip(&old_blanks[1..]).zip(old_labels);
    for ((new, ((&stays, &follows), &skipping)), (&skip, &of_label)) in
        rest.iter_mut().zip(from).zip(skips[1..].iter().zip(&of_labels[1..]))
    {
        *new = log_add(log_add(stays, follows), skipping + skip) + of_label;
    }
}

/// The paths through each place of one step: beginnings and endings (these reversed) hold its log-probability both.
#[inline(always)]
fn join<T: Float>(beginnings: &[T], endings: &[T], of_blank: T, reversed_labels: &[T], out: &mut [T]) {
    let num_labels = reversed_labels.len();
    let (blanks, labels) = out.split_at_mut(num_labels + 1);
    let (begin_blanks, begin_labels) = beginnings.split_at(num_labels + 1);
    let (end_blanks, end_labels) = endings.split_at(num_labels + 1);
    for ((out, &begin), &end) in blanks.iter_mut().zip(begin_blanks).zip(end_blanks.iter().rev()) {
        *out = (begin + end) - of_blank;
    }
    let ends = end_labels.iter().zip(reversed_labels).rev();
    for ((out, &begin), (&end, &of_label)) in labels.iter_mut().zip(begin_labels).zip(ends) {
        *out = (begin + end) - of_label;
    }
}
