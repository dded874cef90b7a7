//! Convolution and transposed convolution of volumes, and of sequences transposed.

use super::*;
use crate::conv::conv3d::{composed_for_test, composed_transposed_for_test, convolution};
use crate::conv::depth::Depth;

/// Shapes of xs and weight, parameters.
type Conv = ([usize; 5], [usize; 5], Conv3dParams);

fn cases() -> Vec<Conv> {
    let params = |stride, padding, dilation, groups| Conv3dParams { stride, padding, dilation, groups };
    let (none, one) = ([[0, 0]; 3], [[1, 1]; 3]);
    vec![
        ([2, 2, 4, 3, 4], [3, 2, 3, 3, 3], params([1; 3], one, [1; 3], 1)),
        // Stride, where the windows do not cover the input.
        ([1, 2, 6, 3, 5], [2, 2, 3, 2, 2], params([2, 1, 2], none, [1; 3], 1)),
        ([2, 1, 7, 3, 3], [2, 1, 2, 3, 1], params([3, 2, 1], [[1, 1], [1, 1], [0, 0]], [2, 1, 1], 1)),
        // Groups, asymmetric padding, dilation on every axis.
        ([1, 4, 5, 4, 3], [6, 2, 2, 2, 2], params([1, 2, 1], [[2, 1], [0, 1], [1, 0]], [2, 2, 1], 2)),
        // Depthwise.
        ([2, 3, 3, 3, 4], [3, 1, 2, 2, 3], params([1; 3], one, [1; 3], 3)),
        // More padding than kernel.
        ([1, 1, 2, 2, 2], [2, 1, 2, 1, 2], params([2, 1, 1], [[3, 2], [0, 0], [0, 1]], [1; 3], 1)),
        // A kernel of one slice, with and without stride.
        ([2, 2, 3, 4, 3], [3, 2, 1, 3, 2], params([1; 3], [[0, 0], [1, 1], [0, 1]], [1; 3], 1)),
        ([2, 2, 5, 2, 3], [2, 2, 1, 1, 2], params([2, 1, 1], none, [1; 3], 1)),
        // A kernel of one row and column: whole volumes as images, or not.
        ([5, 4, 5, 2, 3], [2, 2, 3, 1, 1], params([2, 1, 1], [[1, 2], [0, 0], [0, 0]], [2, 1, 3], 2)),
        ([2, 2, 4, 2, 3], [3, 2, 2, 1, 1], params([1; 3], none, [1; 3], 1)),
        ([4, 3, 2, 2, 2], [2, 3, 1, 1, 1], params([1; 3], none, [1; 3], 1)),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], params([1; 3], none, [1; 3], 1)),
    ]
}

/// Several blocks of images: parts of one volume, and several volumes together.
fn large_cases() -> Vec<Conv> {
    let params = Conv3dParams { padding: [[1, 1]; 3], ..Default::default() };
    vec![
        ([1, 64, 41, 24, 30], [2, 64, 3, 2, 1], params),
        ([3, 24, 30, 40, 41], [4, 12, 3, 1, 2], Conv3dParams { groups: 2, stride: [2, 2, 1], ..params }),
        ([140, 128, 2, 9, 9], [2, 128, 2, 1, 2], Conv3dParams { padding: [[1, 0], [1, 0], [0, 0]], ..params }),
    ]
}

fn operands((xs, weight, _): &Conv) -> [Tensor; 3] {
    [values(&xs[..], 1).unwrap(), values(&weight[..], 2).unwrap(), values(weight[0], 3).unwrap()]
}

fn grid<const N: usize>(dims: [usize; N]) -> impl Iterator<Item = [usize; N]> {
    (0..dims.iter().product()).map(move |i| {
        let mut rest: usize = i;
        let mut at = [0; N];
        for axis in (0..N).rev() {
            at[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        at
    })
}

fn offset<const N: usize>(dims: [usize; N], at: [usize; N]) -> usize {
    dims.iter().zip(at).fold(0, |offset, (dim, at)| offset * dim + at)
}

/// Value and gradients by the defining sum, the output weighted as `run` does it.
fn definition(case: &Conv) -> [Vec<f64>; 4] {
    let (xs, weight, p) = case;
    let size = |a: usize| {
        let padded = xs[a + 2] + p.padding[a][0] + p.padding[a][1];
        (padded - p.dilation[a] * (weight[a + 2] - 1) - 1) / p.stride[a] + 1
    };
    let ys_dims = [xs[0], weight[0], size(0), size(1), size(2)];
    let [x, w, b] = operands(case).map(|t| flat(&t));
    let grad = flat(&values(&ys_dims[..], 7).unwrap());
    let (mut ys, mut dx, mut dw, mut db) =
        (vec![0.0; grad.len()], vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
    for [n, o, z, y, x_at] in grid(ys_dims) {
        let yi = offset(ys_dims, [n, o, z, y, x_at]);
        ys[yi] += b[o];
        db[o] += grad[yi];
        for [c, k0, k1, k2] in grid([weight[1], weight[2], weight[3], weight[4]]) {
            let [at, tap] = [[z, y, x_at], [k0, k1, k2]];
            let at: [usize; 3] =
                std::array::from_fn(|a| (at[a] * p.stride[a] + tap[a] * p.dilation[a]).wrapping_sub(p.padding[a][0]));
            if (0..3).all(|a| at[a] < xs[a + 2]) {
                let channel = o / (weight[0] / p.groups) * weight[1] + c;
                let (xi, wi) = (offset(*xs, [n, channel, at[0], at[1], at[2]]), offset(*weight, [o, c, k0, k1, k2]));
                ys[yi] += x[xi] * w[wi];
                dx[xi] += grad[yi] * w[wi];
                dw[wi] += grad[yi] * x[xi];
            }
        }
    }
    [ys, dx, dw, db]
}

#[test]
fn blocks_hold_every_image_once() {
    for (samples, slices, images) in [(1, 41, 32), (3, 15, 35), (150, 1, 64), (2, 5, 5), (3, 7, 1), (0, 4, 8)] {
        let mut seen = vec![0; samples * slices];
        for block in Depth::each(slices).blocks(samples, images) {
            assert!(block.images() > 0 && block.images() <= images);
            for [sample, slice] in grid([samples, slices]) {
                seen[sample * slices + slice] +=
                    usize::from(block.samples.contains(&sample) && block.windows.contains(&slice));
            }
        }
        assert_eq!(seen, vec![1; samples * slices]);
    }
}

#[test]
fn large_cases_are_cut_as_they_say() {
    let blocks = |(xs, weight, params): &Conv| {
        let [xs, weight] = [xs, weight].map(|dims| Tensor::zeros(&dims[..], DType::F32, &Device::Cpu).unwrap());
        let blocks = convolution(&xs, &weight, params).unwrap().blocks().collect::<Vec<_>>();
        (blocks.len(), blocks[0].samples.len())
    };
    assert_eq!(large_cases().iter().map(blocks).collect::<Vec<_>>(), [(3, 1), (3, 1), (6, 25)]);
}

#[test]
fn conv3d_is_the_defining_sum() {
    for (index, case) in cases().iter().chain(&large_cases()).enumerate() {
        println!("case {index}");
        let got = run(&operands(case), |t| conv3d(&t[0], &t[1], Some(&t[2]), &case.2));
        for (got, expected) in got.iter().zip(definition(case)) {
            assert_close(&flat(got), &expected, CLOSE);
        }
    }
}

#[test]
fn conv3d_gradients() {
    for (index, case) in cases().iter().enumerate() {
        println!("case {index}");
        check_gradients(&operands(case), |t| conv3d(&t[0], &t[1], Some(&t[2]), &case.2)).unwrap();
    }
}

#[test]
fn conv3d_composed_agrees() {
    for case in cases() {
        let fused = run(&operands(&case), |t| conv3d(&t[0], &t[1], Some(&t[2]), &case.2));
        let composed = run(&operands(&case), |t| composed_for_test(&t[0], &t[1], Some(&t[2]), &case.2));
        for (fused, composed) in fused.iter().zip(&composed) {
            assert_eq!(fused.dims(), composed.dims());
            assert_close(&flat(composed), &flat(fused), CLOSE);
        }
    }
}

#[test]
fn f32_agrees_with_f64_whatever_the_number_of_threads() {
    for case in cases().iter().chain(&large_cases()) {
        let function = |t: &[Tensor]| conv3d(&t[0], &t[1], Some(&t[2]), &case.2);
        let wide = run(&operands(case), function);
        let narrow = operands(case).map(|t| t.to_dtype(DType::F32).unwrap());
        let with_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&narrow, function))
        };
        for ((wide, one), three) in wide.iter().zip(with_threads(1)).zip(with_threads(3)) {
            assert_eq!(one.dtype(), DType::F32);
            // f32 rounds each of up to tens of thousands of terms to 6e-8 of a partial sum of size about 100.
            assert_close(&flat(&one), &flat(wide), 2e-4);
            assert_eq!(flat(&one), flat(&three));
        }
    }
}

/// Shapes of xs and weight, parameters.
type Transposed = ([usize; 5], [usize; 5], ConvTranspose3dParams);

fn transposed_cases() -> Vec<Transposed> {
    let params = |stride, padding, output_padding, dilation, groups| ConvTranspose3dParams {
        stride,
        padding,
        output_padding,
        dilation,
        groups,
    };
    let none = [0; 3];
    vec![
        ([2, 2, 2, 3, 2], [2, 3, 3, 2, 3], params([1; 3], none, none, [1; 3], 1)),
        ([1, 2, 3, 2, 2], [2, 2, 4, 4, 4], params([2; 3], [1; 3], none, [1; 3], 1)),
        ([2, 2, 2, 2, 3], [2, 1, 3, 2, 1], params([2, 3, 1], [1, 0, 0], [1, 2, 0], [1; 3], 1)),
        // A window's slices lie apart, and output padding exceeds the kernel.
        ([1, 4, 2, 2, 2], [4, 2, 1, 2, 2], params([4, 1, 2], none, [3, 1, 1], [1, 2, 2], 2)),
        ([2, 3, 2, 2, 2], [3, 1, 2, 3, 2], params([2, 1, 2], [1, 0, 1], [0, 0, 1], [2, 1, 1], 3)),
        // A kernel of one row and column: whole volumes as images, or not.
        ([4, 2, 3, 2, 2], [2, 3, 2, 1, 1], params([2, 1, 1], [1, 0, 0], [1, 0, 0], [1; 3], 1)),
        ([1, 2, 3, 2, 2], [2, 3, 1, 1, 1], params([1; 3], none, none, [1; 3], 1)),
        // More is cut off than the kernel adds.
        ([1, 1, 5, 2, 5], [1, 2, 2, 1, 2], params([1; 3], [2, 0, 1], none, [1; 3], 1)),
    ]
}

fn transposed_operands((xs, weight, params): &Transposed) -> [Tensor; 3] {
    let bias = values(weight[1] * params.groups, 3).unwrap();
    [values(&xs[..], 1).unwrap(), values(&weight[..], 2).unwrap(), bias]
}

/// Three blocks of one volume.
fn large_transposed_case() -> Transposed {
    ([1, 3, 37, 12, 14], [3, 64, 3, 3, 3], ConvTranspose3dParams { stride: [1, 2, 2], ..Default::default() })
}

#[test]
fn conv_transpose3d_gradients() {
    for (index, case) in transposed_cases().iter().enumerate() {
        println!("case {index}");
        check_gradients(&transposed_operands(case), |t| conv_transpose3d(&t[0], &t[1], Some(&t[2]), &case.2)).unwrap();
    }
}

/// `<conv_transpose3d(x, w), y> = <x, conv3d(y, w)>` for every y: the values follow from those of conv3d.
#[test]
fn conv_transpose3d_is_the_adjoint_of_conv3d() {
    for case in transposed_cases().iter().chain([&large_transposed_case()]) {
        let (xs, weight, params) = case;
        let [x, w, _] = transposed_operands(case);
        let ys = conv_transpose3d(&x, &w, None, params).unwrap();
        for axis in 0..3 {
            let full = (xs[axis + 2] - 1) * params.stride[axis] + params.dilation[axis] * (weight[axis + 2] - 1) + 1;
            assert_eq!(ys.dims()[axis + 2], full + params.output_padding[axis] - 2 * params.padding[axis]);
        }
        let forward = Conv3dParams {
            stride: params.stride,
            padding: params.padding.map(|p| [p, p]),
            dilation: params.dilation,
            groups: params.groups,
        };
        for seed in 10..14 {
            let y = values(ys.shape().clone(), seed).unwrap();
            // Output padding adds windows beyond the last: the extra ones see no element of x.
            let mut image = conv3d(&y, &w, None, &forward).unwrap();
            for axis in 2..5 {
                image = image.narrow(axis, 0, xs[axis]).unwrap();
            }
            let dot = |a: &Tensor, b: &Tensor| flat(a).iter().zip(flat(b)).map(|(a, b)| a * b).sum::<f64>();
            assert_close(&[dot(&ys, &y)], &[dot(&x, &image)], CLOSE);
        }
    }
}

#[test]
fn conv_transpose3d_composed_agrees() {
    for case in transposed_cases().iter().chain([&large_transposed_case()]) {
        let operands = transposed_operands(case);
        let fused = run(&operands, |t| conv_transpose3d(&t[0], &t[1], Some(&t[2]), &case.2));
        let composed = run(&operands, |t| composed_transposed_for_test(&t[0], &t[1], Some(&t[2]), &case.2));
        for (fused, composed) in fused.iter().zip(&composed) {
            assert_eq!(fused.dims(), composed.dims());
            assert_close(&flat(composed), &flat(fused), CLOSE);
        }
    }
}

#[test]
fn conv_transpose1d_gradients() {
    for params in [
        ConvTranspose1dParams { stride: 2, padding: 1, output_padding: 1, ..Default::default() },
        ConvTranspose1dParams { stride: 3, dilation: 2, groups: 2, ..Default::default() },
    ] {
        let out = 6 / params.groups;
        let inputs = [values((2, 4, 5), 1).unwrap(), values((4, out, 3), 2).unwrap(), values(6, 3).unwrap()];
        check_gradients(&inputs, |t| conv_transpose1d(&t[0], &t[1], Some(&t[2]), &params)).unwrap();
    }
}

#[test]
fn constants_get_no_gradient() {
    let (xs, weight) = (values((1, 2, 3, 4, 4), 1).unwrap(), values((2, 2, 3, 3, 3), 2).unwrap());
    let var = |tensor: &Tensor| Var::from_tensor(tensor).unwrap();
    type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let functions: [Function; 2] = [
        |xs, weight| conv3d(xs, weight, None, &Conv3dParams::default()),
        |xs, weight| conv_transpose3d(xs, weight, None, &ConvTranspose3dParams::default()),
    ];
    for function in functions {
        let (weight_var, xs_var) = (var(&weight), var(&xs));
        let grads = function(&xs, &weight_var).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&xs).is_none() && grads.get(&weight_var).is_some());
        let grads = function(&xs_var, &weight).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&weight).is_none() && grads.get(&xs_var).is_some());
        assert!(!function(&xs, &weight).unwrap().track_op());
    }
}

#[test]
fn empty_batch_gives_an_empty_output() {
    let xs = Var::zeros((0, 2, 3, 4, 4), DType::F32, &Device::Cpu).unwrap();
    let weight = Var::ones((2, 2, 3, 3, 3), DType::F32, &Device::Cpu).unwrap();
    let bias = Var::ones(2, DType::F32, &Device::Cpu).unwrap();
    let one = conv3d(&xs, &weight, Some(&bias), &Conv3dParams::default()).unwrap();
    let other = conv_transpose3d(&xs, &weight, Some(&bias), &ConvTranspose3dParams::default()).unwrap();
    for (ys, dims) in [(one, [0, 2, 1, 2, 2]), (other, [0, 2, 5, 6, 6])] {
        assert_eq!(ys.dims(), dims);
        let grads = ys.sum_all().unwrap().backward().unwrap();
        assert_eq!(flat(grads.get(&weight).unwrap()), vec![0.0; 108]);
        assert_eq!(flat(grads.get(&bias).unwrap()), vec![0.0; 2]);
        assert_eq!(grads.get(&xs).unwrap().dims(), xs.dims());
    }
}

#[test]
fn errors_say_what_was_expected_and_what_came() {
    let (xs, weight) = (values((1, 4, 5, 6, 7), 1).unwrap(), values((6, 4, 3, 3, 3), 2).unwrap());
    let base = Conv3dParams::default();
    let message = |xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, params: Conv3dParams| {
        conv3d(xs, weight, bias, &params).unwrap_err().to_string()
    };
    let w = |dims: [usize; 5]| values(&dims[..], 2).unwrap();
    let none = [0, 0];
    let checks = [
        (message(&xs, &w([6, 3, 3, 3, 3]), None, base), "conv3d: expected weight dimension 1 to be 4"),
        (message(&xs, &w([6, 4, 6, 3, 3]), None, base), "no larger than the padded input (5) on axis 2, got 6"),
        (message(&xs, &w([6, 4, 3, 7, 3]), None, base), "conv3d of slices (N, C, H, W): expected a kernel"),
        (message(&xs, &w([6, 4, 3, 3, 8]), None, base), "no larger than the padded input (7) on axis 3, got 8"),
        (message(&xs, &weight, None, Conv3dParams { groups: 3, ..base }), "in_channels divisible by groups 3, got 4"),
        (message(&xs, &weight, None, Conv3dParams { groups: 0, ..base }), "at least 1 group, got 0"),
        (
            message(&xs, &weight, None, Conv3dParams { stride: [1, 0, 2], ..base }),
            "stride of at least 1, got [1, 0, 2]",
        ),
        (
            message(&xs, &weight, None, Conv3dParams { dilation: [0, 1, 2], ..base }),
            "dilation of at least 1, got [0, 1, 2]",
        ),
        (message(&xs, &weight, Some(&values(5, 1).unwrap()), base), "bias of shape [6], got [5]"),
        (message(&xs.get(0).unwrap(), &weight, None, base), "expected xs of five dimensions"),
        (message(&xs, &weight.to_dtype(DType::F32).unwrap(), None, base), "expected weight of dtype F64, got F32"),
        (
            message(&xs, &weight, None, Conv3dParams { padding: [[usize::MAX, 1], none, none], ..base }),
            "padding or dilation overflows on axis 2",
        ),
        (
            message(&xs, &weight, None, Conv3dParams { padding: [[1 << 30, 1], [1 << 30, 0], none], ..base }),
            "elements is too large",
        ),
    ];
    for (message, part) in checks {
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}

#[test]
fn transposed_errors_say_what_was_expected_and_what_came() {
    let xs = values((1, 4, 5, 5, 5), 1).unwrap();
    let weight = values((4, 2, 3, 3, 3), 2).unwrap();
    let base = ConvTranspose3dParams::default();
    let message = |weight: &Tensor, params: ConvTranspose3dParams| {
        conv_transpose3d(&xs, weight, None, &params).unwrap_err().to_string()
    };
    let checks = [
        (message(&values((3, 2, 3, 3, 3), 2).unwrap(), base), "conv_transpose3d: expected weight dimension 0 to be 4"),
        (message(&weight, ConvTranspose3dParams { groups: 3, ..base }), "in_channels divisible by groups 3, got 4"),
        (message(&weight, ConvTranspose3dParams { output_padding: [1, 0, 0], ..base }), "output_padding less than"),
        (message(&weight, ConvTranspose3dParams { padding: [0, 4, 0], ..base }), "less than half of the 7 rows"),
        (message(&weight, ConvTranspose3dParams { stride: [1, 1, 0], ..base }), "stride of at least 1, got [1, 1, 0]"),
        (
            message(
                &weight,
                ConvTranspose3dParams { stride: [1 << 40, 1, 1 << 20], output_padding: [(1 << 40) - 1, 0, 0], ..base },
            ),
            "too large",
        ),
    ];
    for (message, part) in checks {
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
    let flat = conv_transpose1d(&xs, &weight, None, &ConvTranspose1dParams::default()).unwrap_err().to_string();
    assert!(flat.contains("conv_transpose1d: expected xs (N, C, L)"), "{flat}");
}
