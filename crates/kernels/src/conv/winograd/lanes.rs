//! A few neighbouring channels as one value: the unit of work of every transform.

use std::ops::{Add, Mul, Sub};

use crate::cpu::Element;

/// Channels of one [`Lanes`]; rows of channels are padded to a multiple of it.
pub(super) const LANES: usize = 16;

/// The values of [`LANES`] neighbouring channels.
#[derive(Clone, Copy)]
pub(in crate::conv) struct Lanes<T>(pub [T; LANES]);

impl<T: Element> Lanes<T> {
    #[inline(always)]
    pub fn load(from: &[T], at: usize) -> Self {
        let mut lanes = [T::zero(); LANES];
        lanes.copy_from_slice(&from[at..at + LANES]);
        Self(lanes)
    }

    /// The first values of `from`, and zeros where it is shorter.
    #[inline(always)]
    pub fn load_some(from: &[T]) -> Self {
        let mut lanes = Self::zero();
        for (lane, &value) in lanes.0.iter_mut().zip(from) {
            *lane = value;
        }
        lanes
    }

    #[inline(always)]
    pub fn store(self, to: &mut [T], at: usize) {
        to[at..at + LANES].copy_from_slice(&self.0);
    }

    #[inline(always)]
    pub fn zero() -> Self {
        Self([T::zero(); LANES])
    }
}

// Loops, since the closures of `array::map` stay calls that are compiled for the oldest machine.

impl<T: Element> Add for Lanes<T> {
    type Output = Self;

    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for (lane, other) in self.0.iter_mut().zip(other.0) {
            *lane += other;
        }
        self
    }
}

impl<T: Element> Sub for Lanes<T> {
    type Output = Self;

    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        for (lane, other) in self.0.iter_mut().zip(other.0) {
            *lane -= other;
        }
        self
    }
}

impl<T: Element> Mul<f64> for Lanes<T> {
    type Output = Self;

    #[inline(always)]
    fn mul(mut self, factor: f64) -> Self {
        let factor = T::from_f64(factor);
        for lane in &mut self.0 {
            *lane *= factor;
        }
        self
    }
}

/// Channels in memory for `channels` of them.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}
