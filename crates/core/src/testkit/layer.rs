//! The one contract that every layer passes.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};

use super::gradient::Setting;
use super::{assert_ok, expect, expect_close, values};
use crate::{Layer, ParamStore, Pass, Result, Seed, Sequential, TensorExt, VarBuilder};

/// Where the checked layer stands: errors must say so.
const PATH: &str = "model.layer";
/// Agreement of f32 with f64, relative to `1 + |expected|`: rounding of 6e-8, grown by sums and by depth.
const F32_TOLERANCE: f64 = 1e-4;
/// A transposed input holds the same numbers; only the order of a sum may differ.
const LAYOUT_TOLERANCE: f64 = 1e-12;

/// Checks that the layer which `make` builds keeps the contract of layers, on inputs of `input_shape`:
///
/// - the same seed gives the same parameters and the same output, to the bit, and every output is finite;
/// - saved and loaded into a layer of another seed, it gives the same output, to the bit;
/// - an input of a wrong shape is an error that carries the layer's path;
/// - gradients of the input and of every trainable parameter equal central differences in f64, on contiguous and on
///   transposed input, evaluating and training (of large tensors, 64 elements are tried);
/// - every trainable parameter gets a gradient that is not all zero;
/// - f32 agrees with f64.
///
/// Parameters are moved a little from their initial values first, since zeros and ones hide errors. Layers that take ids
/// or any shape: see [`LayerCheck`].
///
/// # Panics
/// Where the contract is broken, with what was expected and what came.
///
/// ```
/// use glassbox_core::{Linear, testkit};
/// testkit::check_layer(|vb| Linear::new(3, 2, vb), &[4, 3]);
/// ```
#[track_caller]
pub fn check_layer<L: Layer + 'static>(make: impl Fn(VarBuilder) -> Result<L>, input_shape: &[usize]) {
    LayerCheck::new(input_shape).run(make);
}

/// [`check_layer`] for layers with other inputs than most.
///
/// ```
/// use glassbox_core::{Activation, testkit::LayerCheck};
/// LayerCheck::new(&[2, 5]).accepts_any_shape().run(|_| Ok(Activation::Gelu));
/// ```
#[derive(Clone, Debug)]
pub struct LayerCheck {
    shape: Vec<usize>,
    num_ids: Option<u32>,
    any_shape: bool,
}

impl LayerCheck {
    /// A check on floating-point inputs of `shape`.
    pub fn new(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), num_ids: None, any_shape: false }
    }

    /// A check on u32 ids below `num_ids`, of `shape`. The id `num_ids` and a float input must be errors.
    pub fn of_ids(shape: &[usize], num_ids: u32) -> Self {
        Self { num_ids: Some(num_ids), ..Self::new(shape) }
    }

    /// The layer has no wrong shape.
    pub fn accepts_any_shape(self) -> Self {
        Self { any_shape: true, ..self }
    }

    /// Runs the check.
    ///
    /// # Panics
    /// Where the contract is broken.
    #[track_caller]
    pub fn run<L: Layer + 'static>(self, make: impl Fn(VarBuilder) -> Result<L>) {
        assert_ok(self.check(&make));
    }

    fn check<L: Layer + 'static>(&self, make: &impl Fn(VarBuilder) -> Result<L>) -> Result<()> {
        let input = self.input()?;
        let built = Built::new(make, DType::F64, Seed(1))?;
        built.check_repeats(&Built::new(make, DType::F64, Seed(1))?, &input)?;
        built.move_parameters()?;
        built.check_files(&Built::new(make, DType::F64, Seed(2))?, &input)?;
        built.check_f32(&Built::new(make, DType::F32, Seed(2))?, &input)?;
        built.check_gradients(&input)?;
        self.check_wrong_inputs(&built, &input)
    }

    fn input(&self) -> Result<Tensor> {
        let Some(num_ids) = self.num_ids else {
            // Rounded to f32, so that an f32 layer can be given the very same numbers.
            return Ok((values(self.shape.as_slice(), 1)? * 2.0)?.to_dtype(DType::F32)?.to_dtype(DType::F64)?);
        };
        let count = self.shape.iter().product::<usize>() as u32;
        let ids: Vec<u32> = (0..count).map(|i| (i * 7 + 3) % num_ids.max(1)).collect();
        Ok(Tensor::from_vec(ids, self.shape.as_slice(), &Device::Cpu)?)
    }

    fn check_wrong_inputs(&self, built: &Built, input: &Tensor) -> Result<()> {
        if let Some(num_ids) = self.num_ids {
            let too_large = Tensor::full(num_ids, self.shape.as_slice(), &Device::Cpu)?;
            expect(built.refuses(&too_large)?, "id out of range", "an error", "an output")?;
            return expect(built.refuses(&input.to_dtype(DType::F64)?)?, "float ids", "an error", "an output");
        }
        let mut refused = built.refuses(&Tensor::zeros((), DType::F64, &Device::Cpu)?)?;
        for dim in 0..self.shape.len() {
            let mut shape = self.shape.clone();
            shape[dim] += 1;
            refused |= built.refuses(&Tensor::zeros(shape, DType::F64, &Device::Cpu)?)?;
        }
        expect(refused || self.any_shape, "input of a wrong shape", "an error", "an output")
    }
}

/// A layer as it stands in a model, with its parameters.
struct Built {
    layer: Sequential,
    params: ParamStore,
}

impl Built {
    fn new<L: Layer + 'static>(make: impl Fn(VarBuilder) -> Result<L>, dtype: DType, seed: Seed) -> Result<Self> {
        let params = ParamStore::with_dtype(seed, dtype, &Device::Cpu);
        let layer = Sequential::new(params.root().pp("model")).add_named("layer", make)?;
        Ok(Self { layer, params })
    }

    fn output(&self, input: &Tensor, training: bool) -> Result<Tensor> {
        self.layer.forward(input, &pass(training))
    }

    /// Zeros and ones, as many parameters start, hide errors. Rounded to f32 as the input is.
    fn move_parameters(&self) -> Result<()> {
        for (i, param) in self.params.trainable().iter().enumerate() {
            let moved = (param.value() + (values(param.shape().clone(), i as u64 + 2)? * 0.2)?)?;
            param.set(&moved.to_dtype(DType::F32)?)?;
        }
        Ok(())
    }

    fn check_repeats(&self, twin: &Self, input: &Tensor) -> Result<()> {
        for training in [false, true] {
            let output = self.output(input, training)?;
            let finite = output.to_f64_vec()?.iter().all(|v| v.is_finite());
            expect(finite, "output", "finite values", &output)?;
            expect_same("output of a second forward", &self.output(input, training)?, &output)?;
            expect_same("output with the same seed", &twin.output(input, training)?, &output)?;
        }
        Ok(())
    }

    fn check_files(&self, other: &Self, input: &Tensor) -> Result<()> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("glassbox-testkit-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let file = std::env::temp_dir().join(name);
        self.params.save(&file)?;
        let loaded = other.params.load(&file);
        // A file left behind in the temporary folder does no harm.
        let _ = std::fs::remove_file(&file);
        loaded?;
        expect_same("output after saving and loading", &other.output(input, false)?, &self.output(input, false)?)
    }

    fn check_f32(&self, single: &Self, input: &Tensor) -> Result<()> {
        single.params.load_tensors("the f64 layer", &self.params.tensors())?;
        let input_f32 = if input.dtype() == DType::F64 { input.to_dtype(DType::F32)? } else { input.clone() };
        for training in [false, true] {
            let (got, want) = (single.output(&input_f32, training)?, self.output(input, training)?);
            expect(got.dtype() == DType::F32, "output of an f32 layer", "f32", format!("{:?}", got.dtype()))?;
            expect_close("output in f32", &got, &want, F32_TOLERANCE)?;
        }
        Ok(())
    }

    fn check_gradients(&self, input: &Tensor) -> Result<()> {
        let mut moved = vec![];
        for training in [false, true] {
            for transposed in [false, true] {
                if transposed && input.rank() < 2 {
                    continue;
                }
                let (layer, params) = (&self.layer, &self.params);
                moved.extend(Setting { layer, params, input, pass: &|| pass(training), transposed }.check()?);
            }
            let strided = if input.rank() > 1 { input.t()?.contiguous()?.t()? } else { input.clone() };
            let (got, want) = (self.output(&strided, training)?, self.output(input, training)?);
            expect_close("output of a transposed input", &got, &want, LAYOUT_TOLERANCE)?;
        }
        for param in self.params.trainable() {
            expect(moved.iter().any(|m| m == param.name()), param.name(), "a gradient that is not all zero", "zeros")?;
        }
        Ok(())
    }

    /// Whether the layer gives an error for `input`; one without the layer's path is itself an error.
    fn refuses(&self, input: &Tensor) -> Result<bool> {
        let Err(error) = self.output(input, false) else { return Ok(false) };
        let message = error.to_string();
        expect(message.contains(PATH), "error of a wrong input", &format!("the path `{PATH}` in it"), message)?;
        Ok(true)
    }
}

fn pass(training: bool) -> Pass {
    if training { Pass::train(Seed(3)) } else { Pass::eval().with_gradients() }
}

/// Fails unless the two are the same to the bit.
fn expect_same(what: &str, got: &Tensor, want: &Tensor) -> Result<()> {
    expect(got.dims() == want.dims(), what, &format!("shape {:?}", want.dims()), format!("{:?}", got.dims()))?;
    let pairs = got.to_f64_vec()?.into_iter().zip(want.to_f64_vec()?);
    let same = pairs.into_iter().all(|(a, b)| a.to_bits() == b.to_bits());
    expect(same, what, "the same bits", "others")
}
