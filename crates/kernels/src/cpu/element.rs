//! The element types of the fused kernels, and the dispatch to them.

use std::cell::RefCell;
use std::ops::Neg;

use candle_core::{CpuStorage, WithDType};

use crate::Result;

/// An element type that the fused CPU kernels handle: f32 or f64.
pub(crate) trait Element: WithDType + Neg<Output = Self> {
    /// Runs `run` on `len` elements of this thread's scratch memory, whose content is arbitrary.
    ///
    /// The memory stays with the thread, since a freshly mapped page costs more than most kernels that write to it.
    fn with_scratch<R>(len: usize, run: impl FnOnce(&mut [Self]) -> R) -> R;
    /// A storage's values, to change.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;
    /// |x|.
    fn abs(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            fn with_scratch<R>(len: usize, run: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local! {
                    // A stack, since calls nest: what the outer call uses is taken out of it meanwhile.
                    static SCRATCH: RefCell<Vec<Vec<$type>>> = const { RefCell::new(Vec::new()) };
                }
                let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
                if scratch.len() < len {
                    scratch.resize(len, 0.0);
                }
                let result = run(&mut scratch[..len]);
                SCRATCH.with_borrow_mut(|stack| stack.push(scratch));
                result
            }

            fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(values) => Ok(values),
                    _ => candle_core::bail!("expected a storage of {}", stringify!($type)),
                }
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }

            #[inline(always)]
            fn abs(self) -> Self {
                <$type>::abs(self)
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
        }
    };
}

element!(f32, F32);
element!(f64, F64);

/// Evaluates `$body` with `$T` standing for the float type of `$dtype`, or fails naming `$op`.
macro_rules! by_float {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                #[allow(unused_imports)]
                use candle_core::WithDType as _;
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                #[allow(unused_imports)]
                use candle_core::WithDType as _;
                type $T = f64;
                $body
            }
            other => candle_core::bail!("{}: expected f32 or f64, got {other:?}", $op),
        }
    };
}
pub(crate) use by_float;
