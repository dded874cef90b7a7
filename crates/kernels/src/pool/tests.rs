//! Values against loops written from the definition, gradients against central differences, and the composed path
//! against the fused one.

use candle_core::{DType, Device, Tensor, Var};

use super::average::{adaptive_axes, average_axes};
use super::max::composed_for_test;
use super::separable::separable_composed;
use super::*;
use crate::testing::{self, assert_close, flat};
use crate::testkit::{check_gradients, values};

fn cases() -> Vec<([usize; 4], Pool2dParams)> {
    let params = |kernel, stride, padding, ceil_mode| Pool2dParams { kernel, stride, padding, ceil_mode };
    vec![
        ([2, 2, 4, 6], Pool2dParams::new([2, 2])),
        // A size that the kernel does not divide.
        ([2, 2, 5, 7], Pool2dParams::new([2, 3])),
        ([1, 2, 5, 7], Pool2dParams { ceil_mode: true, ..Pool2dParams::new([2, 3]) }),
        ([2, 1, 6, 5], params([3, 3], [2, 2], [1, 1], false)),
        ([2, 1, 6, 5], params([3, 3], [2, 2], [1, 1], true)),
        ([1, 2, 7, 5], params([3, 2], [1, 2], [0, 1], false)),
        ([1, 1, 7, 9], params([2, 2], [3, 4], [1, 1], true)),
        ([1, 1, 3, 3], params([5, 5], [1, 1], [2, 2], false)),
    ]
}

/// Value and gradient.
fn run(xs: &Tensor, function: impl Fn(&Tensor) -> Result<Tensor>) -> Vec<Tensor> {
    testing::run(std::slice::from_ref(xs), |t| function(&t[0]))
}

fn assert_same(xs: &Tensor, one: impl Fn(&Tensor) -> Result<Tensor>, other: impl Fn(&Tensor) -> Result<Tensor>) {
    for (one, other) in run(xs, one).iter().zip(run(xs, other)) {
        assert_eq!(one.dims(), other.dims());
        assert_close(&flat(one), &flat(&other), 1e-12);
    }
}

/// Each window's elements and its number of elements with padding, from the definition; also checks the output's size.
fn windows(xs: &Tensor, ys: &Tensor, params: &Pool2dParams) -> Vec<(Vec<f64>, usize)> {
    let (n, c, h, w) = xs.dims4().unwrap();
    let data = xs.to_dtype(DType::F64).unwrap().reshape((n * c, h, w)).unwrap().to_vec3::<f64>().unwrap();
    let size = |input: usize, axis: usize| {
        let (padded, stride) = (input + 2 * params.padding[axis], params.stride[axis]);
        // Starts of windows that fit, and in ceil mode of those that stick out but begin before the padding after.
        let fits = |start: &usize| {
            start + params.kernel[axis] <= padded
                || params.ceil_mode
                    && start + params.kernel[axis] < padded + stride
                    && *start < input + params.padding[axis]
        };
        (0..padded).step_by(stride).filter(fits).count()
    };
    let (oh, ow) = (size(h, 0), size(w, 1));
    assert_eq!(ys.dims(), [n, c, oh, ow]);
    let mut windows = Vec::new();
    for plane in &data {
        for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
            let (mut elements, mut count) = (Vec::new(), 0);
            for (i, j) in (0..params.kernel[0]).flat_map(|i| (0..params.kernel[1]).map(move |j| (i, j))) {
                let (y, x) = (oy * params.stride[0] + i, ox * params.stride[1] + j); // in the padded input
                count += usize::from(y < h + 2 * params.padding[0] && x < w + 2 * params.padding[1]);
                let (y, x) = (y.wrapping_sub(params.padding[0]), x.wrapping_sub(params.padding[1]));
                elements.extend(plane.get(y).and_then(|row| row.get(x)));
            }
            windows.push((elements, count));
        }
    }
    windows
}

#[test]
fn values_are_the_definition() {
    for (shape, params) in cases() {
        let xs = values(&shape[..], 1).unwrap();
        let ys = max_pool2d(&xs, &params).unwrap();
        let windows = windows(&xs, &ys, &params);
        let max: Vec<f64> = windows.iter().map(|(w, _)| w.iter().cloned().fold(f64::NEG_INFINITY, f64::max)).collect();
        assert_close(&flat(&ys), &max, 0.0);
        for include in [false, true] {
            let count = |window: &(Vec<f64>, usize)| if include { window.1 } else { window.0.len() };
            let mean: Vec<f64> = windows.iter().map(|w| w.0.iter().sum::<f64>() / count(w) as f64).collect();
            assert_close(&flat(&avg_pool2d(&xs, &params, include).unwrap()), &mean, 1e-14);
        }
    }
}

#[test]
fn gradients() {
    for (shape, params) in cases() {
        let xs = [values(&shape[..], 1).unwrap()];
        check_gradients(&xs, |t| max_pool2d(&t[0], &params)).unwrap();
        check_gradients(&xs, |t| avg_pool2d(&t[0], &params, true)).unwrap();
        check_gradients(&xs, |t| avg_pool2d(&t[0], &params, false)).unwrap();
    }
    let xs = [values((2, 2, 5, 7), 1).unwrap()];
    for size in [[1, 1], [2, 3], [5, 7], [3, 9]] {
        check_gradients(&xs, |t| adaptive_avg_pool2d(&t[0], size)).unwrap();
    }
    check_gradients(&xs, |t| global_avg_pool2d(&t[0])).unwrap();
}

#[test]
fn gradients_1d() {
    let xs = [values((2, 3, 7), 1).unwrap()];
    let params = Pool1dParams { kernel: 3, stride: 2, padding: 1, ceil_mode: false };
    check_gradients(&xs, |t| max_pool1d(&t[0], &params)).unwrap();
    check_gradients(&xs, |t| avg_pool1d(&t[0], &params, true)).unwrap();
    check_gradients(&xs, |t| adaptive_avg_pool1d(&t[0], 3)).unwrap();
}

#[test]
fn composed_agrees() {
    for (shape, params) in cases() {
        let xs = values(&shape[..], 1).unwrap();
        assert_same(&xs, |t| max_pool2d(t, &params), |t| composed_for_test(t, &params));
        for include in [false, true] {
            let [rows, columns] = average_axes("test", &xs, &params, include).unwrap();
            assert_same(&xs, |t| avg_pool2d(t, &params, include), |t| separable_composed(t, &rows, &columns));
        }
        let [rows, columns] = adaptive_axes("test", &xs, [2, 3]).unwrap();
        assert_same(&xs, |t| adaptive_avg_pool2d(t, [2, 3]), |t| separable_composed(t, &rows, &columns));
    }
}

#[test]
fn adaptive_windows_follow_pytorch() {
    let xs = Tensor::arange(0f64, 5.0, &Device::Cpu).unwrap().reshape((1, 1, 5)).unwrap();
    // Windows 0..2, 1..4, 3..5.
    assert_close(&flat(&adaptive_avg_pool1d(&xs, 3).unwrap()), &[0.5, 2.0, 3.5], 1e-15);
}

#[test]
fn first_of_equal_maxima_gets_the_gradient() {
    let xs = Var::ones((1, 1, 2, 2), DType::F64, &Device::Cpu).unwrap();
    for pool in [max_pool2d, composed_for_test] {
        let grads = pool(&xs, &Pool2dParams::new([2, 2])).unwrap().backward().unwrap();
        assert_eq!(flat(grads.get(&xs).unwrap()), [1.0, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn nan_and_infinity_propagate() {
    let xs = Tensor::new(&[[[[1.0, f64::NAN, f64::NEG_INFINITY, f64::NEG_INFINITY]]]], &Device::Cpu).unwrap();
    for pool in [max_pool2d, composed_for_test] {
        let ys = flat(&pool(&xs, &Pool2dParams::new([1, 2])).unwrap());
        assert!(ys[0].is_nan() && ys[1] == f64::NEG_INFINITY, "{ys:?}");
    }
}

#[test]
fn f32_agrees_with_f64() {
    let wide = values((2, 3, 9, 8), 1).unwrap();
    let narrow = wide.to_dtype(DType::F32).unwrap();
    let params = Pool2dParams { kernel: [3, 2], stride: [2, 2], padding: [1, 1], ceil_mode: true };
    type Function<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;
    let functions: [Function; 3] =
        [&|t| max_pool2d(t, &params), &|t| avg_pool2d(t, &params, true), &|t| adaptive_avg_pool2d(t, [4, 3])];
    for function in functions {
        for (wide, narrow) in run(&wide, function).iter().zip(run(&narrow, function)) {
            assert_eq!(narrow.dtype(), DType::F32);
            // A few roundings to 6e-8.
            assert_close(&flat(&narrow), &flat(wide), 1e-6);
        }
    }
}

#[test]
fn errors_say_what_was_expected_and_what_came() {
    let xs = values((1, 1, 4, 5), 1).unwrap();
    let base = Pool2dParams::new([2, 2]);
    let checks = [
        (max_pool2d(&xs, &Pool2dParams { padding: [0, 2], ..base }), "at most half the kernel (1) on axis 3, got 2"),
        (max_pool2d(&xs, &Pool2dParams::new([5, 2])), "no larger than the padded input (4) on axis 2, got 5"),
        (
            avg_pool2d(&xs, &Pool2dParams { stride: [0, 1], ..base }, true),
            "stride of at least 1 on axis 2, got 2 and 0",
        ),
        (max_pool2d(&xs.get(0).unwrap(), &base), "expected xs (N, C, H, W)"),
        (max_pool1d(&xs, &Pool1dParams::new(2)), "expected xs (N, C, L), got [1, 1, 4, 5]"),
        (adaptive_avg_pool2d(&xs, [0, 1]), "output size of at least 1, got [0, 1]"),
        (max_pool2d(&xs, &Pool2dParams { kernel: [0, 1], ..base }), "kernel and a stride of at least 1"),
    ];
    for (result, part) in checks {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}
