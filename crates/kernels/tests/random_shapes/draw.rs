//! Shapes, parameters and operands from a fixed seed.

use std::ops::RangeInclusive;

use candle_core::{DType, Device, Result, Tensor};

use glassbox_kernels::testkit;

/// How large what is drawn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Dimensions of a few elements, 1 among them: for central differences.
    Small,
    /// More elements than one thread takes on at once.
    Large,
    /// As `Small`, with this many samples; all else is as with any other number.
    Batch(usize),
}

/// One operation with its operands.
pub struct Case {
    /// Shapes and parameters, for messages.
    pub label: String,
    /// What gradients are checked for.
    pub inputs: Vec<Input>,
    /// The operation on tensors like `inputs`, of either float type.
    pub run: Run,
}

/// A function of tensors.
pub type Run = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

impl Case {
    /// An operation of `inputs`.
    pub fn new(
        label: impl std::fmt::Debug,
        inputs: Vec<Input>,
        run: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let dims: Vec<_> = inputs.iter().map(|input| (input.dims.as_slice(), input.view)).collect();
        Self { label: format!("{dims:?} {label:?}"), inputs, run: Box::new(run) }
    }
}

/// An operand: values in f64, and how it lies in memory.
pub struct Input {
    /// What is a variable in tests.
    pub leaf: Tensor,
    /// The operand's own shape.
    pub dims: Vec<usize>,
    /// How the operand sees the leaf.
    pub view: View,
}

/// How an operand lies in its leaf.
#[derive(Clone, Copy, Debug)]
pub enum View {
    /// It is the leaf.
    Whole,
    /// These dimensions are exchanged.
    Swapped(usize, usize),
    /// The leaf has elements before and after it along this dimension.
    Cut(usize),
    /// The first dimension of the leaf is 1 and is repeated.
    Repeated,
}

impl Input {
    /// The operand as a view of `leaf`.
    pub fn see(&self, leaf: &Tensor) -> Result<Tensor> {
        match self.view {
            View::Whole => Ok(leaf.clone()),
            View::Swapped(a, b) => leaf.transpose(a, b),
            View::Cut(dim) => leaf.narrow(dim, 1, self.dims[dim]),
            View::Repeated => leaf.broadcast_as(self.dims.as_slice()),
        }
    }
}

/// The source of all choices: the same seed and scale make the same ones.
pub struct Draw {
    state: u64,
    pub scale: Scale,
}

impl Draw {
    pub fn new(seed: u64, scale: Scale) -> Self {
        let mut draw = Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D, scale };
        (0..8).for_each(|_| _ = draw.next());
        draw
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// From 0 up to `end`, without it.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    pub fn from(&mut self, range: RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// `small` or, where the scale is large, `large`; of the same number of draws.
    pub fn either(&mut self, small: RangeInclusive<usize>, large: RangeInclusive<usize>) -> usize {
        if self.scale == Scale::Large { self.from(large) } else { self.from(small) }
    }

    /// A number of samples.
    pub fn batch(&mut self) -> usize {
        let drawn = self.either(1..=4, 33..=70);
        if let Scale::Batch(batch) = self.scale { batch } else { drawn }
    }

    /// A length, height, width or number of features.
    pub fn size(&mut self) -> usize {
        self.either(1..=6, 17..=33)
    }

    /// A number of channels in `groups`.
    pub fn channels(&mut self, groups: usize) -> usize {
        groups * self.either(1..=3, 2..=5)
    }

    /// An operand of values in [-1, 1), lying in any way.
    pub fn input(&mut self, dims: &[usize]) -> Input {
        let (a, b) = (self.below(dims.len().max(1)), self.below(dims.len().max(1)));
        let view = match self.below(5) {
            _ if dims.is_empty() => View::Whole,
            0 | 1 => View::Swapped(a, b),
            2 => View::Cut(a),
            // Some shapes may not lose their samples to one.
            3 if !matches!(self.scale, Scale::Batch(_)) => View::Repeated,
            _ => View::Whole,
        };
        self.lying(dims, view)
    }

    /// An operand that lies in any way but repeated, so that no two of its values are equal.
    pub fn distinct(&mut self, dims: &[usize]) -> Input {
        let input = self.input(dims);
        if matches!(input.view, View::Repeated) { self.lying(dims, View::Whole) } else { input }
    }

    fn lying(&mut self, dims: &[usize], view: View) -> Input {
        let mut shape = dims.to_vec();
        match view {
            View::Whole => {}
            View::Swapped(a, b) => shape.swap(a, b),
            View::Cut(dim) => shape[dim] += 2,
            View::Repeated => shape[0] = 1,
        }
        let leaf = testkit::values(shape, self.next()).unwrap();
        Input { leaf, dims: dims.to_vec(), view }
    }

    /// A constant of values in [-1, 1), in f64.
    pub fn constant(&mut self, dims: &[usize]) -> Tensor {
        testkit::values(dims, self.next()).unwrap()
    }

    /// Whole numbers from 0 up to `end`, of either type. How many there are does not change what is drawn after.
    pub fn ids(&mut self, dims: &[usize], end: usize) -> Tensor {
        let (dtype, seed) = (self.one_of(&[DType::U32, DType::I64]), self.next());
        let mut own = Draw::new(seed, self.scale);
        let ids: Vec<u32> = (0..dims.iter().product()).map(|_| own.below(end) as u32).collect();
        Tensor::from_vec(ids, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    /// A length from 1 to `longest` for each sample.
    pub fn lengths(&mut self, batch: usize, longest: usize) -> Vec<usize> {
        let mut own = Draw::new(self.next(), self.scale);
        (0..batch).map(|_| own.from(1..=longest)).collect()
    }
}

/// All elements of all tensors in one row.
pub fn joined(tensors: &[Tensor]) -> Result<Tensor> {
    // Candle's operations fail on parts of nothing.
    let flat =
        |t: &Tensor| if t.elem_count() > 0 || t.track_op() { t.flatten_all() } else { t.zeros_like()?.flatten_all() };
    Tensor::cat(&tensors.iter().map(flat).collect::<Result<Vec<_>>>()?, 0)
}

/// `tensor` in the element type of `like`.
pub fn typed(tensor: &Tensor, like: &Tensor) -> Result<Tensor> {
    tensor.to_dtype(like.dtype())
}
