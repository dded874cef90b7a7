//! What every operation has to hold to, whatever its shapes.

use std::sync::LazyLock;

use candle_core::{DType, Device, Result, Tensor, Var};
use glassbox_kernels::{backward, testkit};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::draw::{Case, Draw, Scale};

/// How many cases of each operation.
const SMALL: u64 = 8;
const LARGE: u64 = 2;
const EMPTY: u64 = 8;

/// Step of the central difference: its truncation is about its square, its rounding 1e-16 through it.
const STEP: f64 = 1e-5;
/// Accepted difference to a central difference, relative to 1 + |expected|.
const DIFFERENCE: f64 = 1e-6;
/// Elements of each operand that are moved one by one; a last difference moves all of them at once.
const MOVED: usize = 10;
/// Accepted difference between the fused and the composed form, relative to the largest magnitude: in f64 sums of some
/// thousand terms in another order; in f32 what is promised.
const TOLERANCE: [(DType, f64); 2] = [(DType::F64, 1e-11), (DType::F32, 1e-5)];

/// Two threads' work is the same as one's.
static POOLS: LazyLock<[ThreadPool; 2]> =
    LazyLock::new(|| [1, 2].map(|threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap()));

/// Checks an operation in cases that `make` draws.
pub fn check(name: &str, make: fn(&mut Draw) -> Case) {
    check_alone(name, make);
    for (scale, count) in [(Scale::Small, SMALL), (Scale::Large, LARGE)] {
        for seed in 0..count {
            let (case, _name) = drawn(name, make, seed, scale);
            agrees_with_the_composed_form(&case);
        }
    }
}

/// As [`check`], for an operation that has one form.
pub fn check_alone(name: &str, make: fn(&mut Draw) -> Case) {
    for seed in 0..SMALL {
        let (case, _name) = drawn(name, make, seed, Scale::Small);
        agrees_with_differences(&case, seed);
        agrees_where_one_gradient_is_wanted(&case);
    }
    for seed in 0..LARGE {
        let (case, _name) = drawn(name, make, seed, Scale::Large);
        does_not_depend_on_threads(&case);
    }
    for seed in 0..EMPTY {
        goes_without_samples(name, make, seed);
    }
}

/// Names the case if a check panics.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}", self.0);
        }
    }
}

fn drawn(name: &str, make: fn(&mut Draw) -> Case, seed: u64, scale: Scale) -> (Case, Name) {
    let case = make(&mut Draw::new(seed, scale));
    let named = Name(format!("{name}, seed {seed}, {scale:?}: {}", case.label));
    (case, named)
}

/// A value, and the gradient of its unevenly weighted sum for each leaf that is asked for.
struct Outcome {
    value: Tensor,
    gradients: Vec<Option<Tensor>>,
}

impl Outcome {
    fn of(case: &Case, dtype: DType, wanted: impl Fn(usize) -> bool) -> Result<Self> {
        Self::at(case, dtype, dtype, wanted)
    }

    /// Computed in `dtype` of operands that were rounded to another type before.
    fn at(case: &Case, rounded: DType, dtype: DType, wanted: impl Fn(usize) -> bool) -> Result<Self> {
        let vars = case.inputs.iter().map(|input| Var::from_tensor(&input.leaf.to_dtype(rounded)?.to_dtype(dtype)?));
        let vars = vars.collect::<Result<Vec<_>>>()?;
        let leaves: Vec<_> = vars.iter().map(|var| var.as_tensor()).enumerate().collect();
        let leaf = |&(i, leaf): &(usize, &Tensor)| if wanted(i) { leaf.clone() } else { leaf.detach() };
        let views = leaves.iter().zip(&case.inputs).map(|(at, input)| input.see(&leaf(at)));
        let value = (case.run)(&views.collect::<Result<Vec<_>>>()?)?;
        let gradients = backward::backward(&weighted_sum(&value)?)?;
        let gradients = leaves.iter().map(|&(i, leaf)| if wanted(i) { gradients.get(leaf) } else { Ok(None) });
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        for (i, gradient) in gradients.iter().enumerate() {
            assert_eq!(gradient.is_some(), wanted(i), "whether a gradient reaches operand {i}");
            if let Some(gradient) = gradient {
                assert_eq!(gradient.dims(), case.inputs[i].leaf.dims(), "of the gradient of operand {i}");
            }
        }
        assert_eq!(value.dtype(), dtype);
        Ok(Self { value: value.detach(), gradients })
    }

    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.value).chain(self.gradients.iter().flatten())
    }

    fn bits(&self) -> Vec<Vec<u32>> {
        let bits = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>().map(|xs| xs.iter().map(|x| x.to_bits()).collect());
        self.tensors().map(|t| bits(t).unwrap()).collect()
    }
}

fn weighted_sum(value: &Tensor) -> Result<Tensor> {
    (value * testkit::values(value.shape().clone(), 99)?.to_dtype(value.dtype())?)?.sum_all()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

fn agrees_with_differences(case: &Case, seed: u64) {
    let outcome = Outcome::of(case, DType::F64, |_| true).unwrap();
    let mut draw = Draw::new(seed ^ 77, Scale::Small);
    for (i, gradient) in outcome.gradients.iter().flatten().enumerate() {
        let gradient = flat(gradient);
        let all: Vec<f64> = flat(&draw.constant(&[gradient.len()]));
        let one = |at: usize| (0..gradient.len()).map(|j| f64::from(u8::from(j == at))).collect();
        let places: Vec<usize> = match gradient.len() {
            len @ 0..=MOVED => (0..len).collect(),
            len => (0..MOVED).map(|_| draw.below(len)).collect(),
        };
        let directions = places.into_iter().map(one).chain([all]);
        for direction in directions.collect::<Vec<Vec<f64>>>() {
            let got: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let moved = |step: f64| value_with(case, i, &direction, step).unwrap();
            let want = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            assert!(
                (got - want).abs() <= DIFFERENCE * (1.0 + want.abs()),
                "gradient of operand {i} along {direction:?}: expected {want}, got {got}"
            );
        }
    }
}

/// The weighted sum where leaf `i` is moved by `step` times `direction`.
fn value_with(case: &Case, i: usize, direction: &[f64], step: f64) -> Result<f64> {
    let leaf = |(j, input): (usize, &crate::draw::Input)| {
        if j != i {
            return input.see(&input.leaf);
        }
        let values: Vec<f64> = flat(&input.leaf).iter().zip(direction).map(|(x, d)| x + step * d).collect();
        input.see(&Tensor::from_vec(values, input.leaf.shape(), &Device::Cpu)?)
    };
    let views = case.inputs.iter().enumerate().map(leaf).collect::<Result<Vec<_>>>()?;
    weighted_sum(&(case.run)(&views)?)?.to_scalar()
}

fn agrees_with_the_composed_form(case: &Case) {
    for (dtype, tolerance) in TOLERANCE {
        let fused = Outcome::of(case, dtype, |_| true).unwrap();
        // In f64, since Candle's sums of many f32 are themselves no closer than this.
        let composed = testkit::composed(|| Outcome::at(case, dtype, DType::F64, |_| true)).unwrap();
        // A gradient that cancels to nothing is as exact as the terms that it is made of.
        let least = 1e-2 * composed.tensors().map(|t| largest(&flat(t))).fold(0.0, f64::max);
        for (which, (got, want)) in fused.tensors().zip(composed.tensors()).enumerate() {
            assert_eq!(got.dims(), want.dims());
            let (got, want) = (flat(got), flat(want));
            let scale = largest(&want).max(least);
            for (place, (got, want)) in got.iter().zip(&want).enumerate() {
                let same = (got - want).abs() <= tolerance * scale || got == want;
                assert!(same, "{dtype:?} result {which} at {place}: composed {want}, fused {got}, largest {scale}");
            }
        }
    }
}

/// Operands without a gradient change nothing in the others'.
fn agrees_where_one_gradient_is_wanted(case: &Case) {
    let all = Outcome::of(case, DType::F32, |_| true).unwrap().bits();
    for i in 0..case.inputs.len() {
        let one = Outcome::of(case, DType::F32, |j| i == j).unwrap().bits();
        assert!(one[0] == all[0] && one[1] == all[1 + i], "where only operand {i} gets a gradient");
    }
}

fn does_not_depend_on_threads(case: &Case) {
    let [one, two] = POOLS.each_ref().map(|pool| pool.install(|| Outcome::of(case, DType::F32, |_| true).unwrap()));
    assert!(one.bits() == two.bits(), "1 and 2 threads differ");
}

/// Operations of which nothing makes no sense: statistics.
const NOT_OF_NOTHING: [&str; 2] = ["batch_norm_train", "conv2d_with_tail_in_training"];

/// The result has the shape that follows from those of three and four samples, and no gradient is other than 0.
fn goes_without_samples(name: &str, make: fn(&mut Draw) -> Case, seed: u64) {
    let (case, _name) = drawn(name, make, seed, Scale::Batch(0));
    let outcome = Outcome::of(&case, DType::F32, |_| true);
    if NOT_OF_NOTHING.contains(&name) {
        let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("expected more than 1 element per channel, got 0"), "{error}");
        return;
    }
    let outcome = outcome.unwrap();
    let dims = |batch| {
        let (case, _name) = drawn(name, make, seed, Scale::Batch(batch));
        value(&case).unwrap().dims().to_vec()
    };
    let want: Vec<usize> = dims(3).iter().zip(dims(4)).map(|(three, four)| 4 * three - 3 * four).collect();
    assert_eq!(outcome.value.dims(), want);
    for gradient in outcome.gradients.iter().flatten() {
        assert!(flat(gradient).iter().all(|&x| x == 0.0), "a gradient of nothing: {gradient}");
    }
    let composed = testkit::composed(|| value(&case)).unwrap();
    assert_eq!(composed.dims(), want, "of the composed form");
}

/// The value of operands of the case's shapes, as they are: Candle's own operations fail on parts of nothing.
fn value(case: &Case) -> Result<Tensor> {
    let zeros = case.inputs.iter().map(|input| Tensor::zeros(input.dims.as_slice(), DType::F32, &Device::Cpu));
    (case.run)(&zeros.collect::<Result<Vec<_>>>()?)
}
