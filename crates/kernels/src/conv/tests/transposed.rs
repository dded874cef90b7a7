//! Transposed convolution.

use super::*;

/// Shapes of xs and weight, parameters.
fn transposed_cases() -> Vec<([usize; 4], [usize; 4], ConvTranspose2dParams)> {
    let params = |stride, padding, output_padding, dilation, groups| ConvTranspose2dParams {
        stride,
        padding,
        output_padding,
        dilation,
        groups,
    };
    vec![
        ([2, 3, 4, 3], [3, 2, 3, 3], params([1, 1], [0, 0], [0, 0], [1, 1], 1)),
        ([2, 3, 3, 4], [3, 2, 4, 4], params([2, 2], [1, 1], [0, 0], [1, 1], 1)),
        ([2, 2, 3, 2], [2, 3, 3, 2], params([2, 3], [1, 0], [1, 2], [1, 1], 1)),
        ([1, 2, 3, 4], [2, 2, 2, 3], params([1, 2], [1, 1], [1, 0], [2, 1], 1)),
        ([2, 4, 3, 3], [4, 2, 3, 3], params([2, 2], [1, 1], [1, 1], [1, 1], 2)),
        ([2, 3, 3, 4], [3, 1, 3, 3], params([2, 2], [1, 1], [1, 1], [1, 1], 3)),
        ([2, 3, 4, 3], [3, 4, 1, 1], params([1, 1], [0, 0], [0, 0], [1, 1], 1)),
        // More is cut off than the kernel adds.
        ([1, 1, 5, 5], [1, 2, 2, 2], params([1, 1], [2, 2], [0, 0], [1, 1], 1)),
    ]
}

#[test]
fn conv_transpose2d_gradients() {
    for (xs, weight, params) in transposed_cases() {
        let bias = values(weight[1] * params.groups, 3).unwrap();
        let inputs = [values(&xs[..], 1).unwrap(), values(&weight[..], 2).unwrap(), bias];
        check_gradients(&inputs, |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), &params)).unwrap();
    }
}

/// `<conv_transpose2d(x, w), y> = <x, conv2d(y, w)>` for every y: the values follow from those of conv2d.
#[test]
fn conv_transpose2d_is_the_adjoint_of_conv2d() {
    for (xs, weight, params) in transposed_cases() {
        let (x, w) = (values(&xs[..], 1).unwrap(), values(&weight[..], 2).unwrap());
        let ys = conv_transpose2d(&x, &w, None, &params).unwrap();
        for axis in 0..2 {
            let (size, kernel) = (xs[axis + 2], weight[axis + 2]);
            let full = (size - 1) * params.stride[axis] + params.dilation[axis] * (kernel - 1) + 1;
            assert_eq!(ys.dims()[axis + 2], full + params.output_padding[axis] - 2 * params.padding[axis]);
        }
        let forward = Conv2dParams {
            stride: params.stride,
            padding: symmetric_padding(params.padding),
            dilation: params.dilation,
            groups: params.groups,
        };
        for seed in 10..14 {
            let y = values(ys.shape().clone(), seed).unwrap();
            let image = conv2d(&y, &w, None, &forward).unwrap();
            let dot = |a: &Tensor, b: &Tensor| flat(a).iter().zip(flat(b)).map(|(a, b)| a * b).sum::<f64>();
            // Output padding adds windows beyond the last: the extra ones see no element of x.
            let image = image.narrow(2, 0, xs[2]).unwrap().narrow(3, 0, xs[3]).unwrap();
            assert_close(&[dot(&ys, &y)], &[dot(&x, &image)], CLOSE);
        }
    }
}

#[test]
fn conv_transpose2d_composed_agrees() {
    for (xs, weight, params) in transposed_cases() {
        let geometry = Geometry::transposed("test", &xs, &weight, &params).unwrap();
        let inputs = [values(&xs[..], 1).unwrap(), values(&weight[..], 2).unwrap()];
        let fused = run(&inputs, |t| conv_transpose2d(&t[0], &t[1], None, &params));
        let composed = run(&inputs, |t| composed::input_gradient(&geometry, &t[0], &t[1]));
        for (fused, composed) in fused.iter().zip(&composed) {
            assert_eq!(fused.dims(), composed.dims());
            assert_close(&flat(composed), &flat(fused), CLOSE);
        }
    }
}
