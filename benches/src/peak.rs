//! How many floating-point operations a second the machine can do at most.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use pulp::{Arch, Simd, WithSimd};

/// Independent sums: enough that a multiply-add's latency hides behind the others (4 cycles of 2 a cycle on today's cores),
/// few enough for the 16 registers that AVX2 has.
const SUMS: usize = 12;
/// A trial is long enough for the clock, and short enough to fall between two interruptions.
const TRIAL: Duration = Duration::from_millis(4);
const TRIALS: usize = 24;

/// The floating-point operations (f32, a multiply-add being two) of `threads` threads in a second: the best of several
/// trials of a loop of independent multiply-adds, in the widest instructions of this machine.
pub fn peak_flops(threads: usize) -> f64 {
    let mut steps = 1 << 12;
    while trial(threads, steps).0 < TRIAL {
        steps *= 2;
    }
    let rates = (0..TRIALS).map(|_| {
        let (time, flops) = trial(threads, steps);
        flops / time.as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}

/// The time that the slowest of `threads` threads takes for `steps` rounds, and what all do together in it.
fn trial(threads: usize, steps: usize) -> (Duration, f64) {
    let start = Barrier::new(threads);
    let run = || {
        start.wait();
        let begin = Instant::now();
        let flops = Arch::new().dispatch(MultiplyAdds { steps });
        (begin.elapsed(), flops)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let results = threads.into_iter().filter_map(|thread| thread.join().ok());
        results.fold((Duration::ZERO, 0.0), |(slowest, all), (time, flops)| (slowest.max(time), all + flops))
    })
}

struct MultiplyAdds {
    steps: usize,
}

impl WithSimd for MultiplyAdds {
    /// Floating-point operations done.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        // Unknown to the compiler, and such that the sums stay where arithmetic is at full speed: they tend to 2.
        let (factor, addend) = (simd.splat_f32s(black_box(0.5)), simd.splat_f32s(black_box(1.0)));
        let mut sums = [addend; SUMS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, addend);
            }
        }
        black_box(sums.map(|sum| simd.reduce_sum_f32s(sum)));
        (self.steps * SUMS * S::F32_LANES * 2) as f64
    }
}
