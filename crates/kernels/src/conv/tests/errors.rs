//! What is refused, and what the message says.

use super::*;

#[test]
fn errors_say_what_was_expected_and_what_came() {
    let xs = values((1, 4, 5, 5), 1).unwrap();
    let weight = values((6, 4, 3, 3), 2).unwrap();
    let base = Conv2dParams::default();
    let message = |xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, params: Conv2dParams| {
        conv2d(xs, weight, bias, &params).unwrap_err().to_string()
    };
    let checks = [
        (message(&xs, &values((6, 3, 3, 3), 2).unwrap(), None, base), "expected weight dimension 1 to be 4"),
        (
            message(&xs, &values((6, 4, 7, 3), 2).unwrap(), None, base),
            "no larger than the padded input (5) on axis 2, got 7",
        ),
        (message(&xs, &weight, None, Conv2dParams { groups: 3, ..base }), "in_channels divisible by groups 3, got 4"),
        (message(&xs, &weight, None, Conv2dParams { groups: 4, ..base }), "out_channels divisible by groups 4, got 6"),
        (message(&xs, &weight, None, Conv2dParams { groups: 0, ..base }), "at least 1 group, got 0"),
        (message(&xs, &weight, None, Conv2dParams { stride: [0, 1], ..base }), "stride of at least 1, got [0, 1]"),
        (message(&xs, &weight, None, Conv2dParams { dilation: [1, 0], ..base }), "dilation of at least 1, got [1, 0]"),
        (message(&xs, &weight, Some(&values(5, 1).unwrap()), base), "bias of shape [6], got [5]"),
        (message(&xs.get(0).unwrap(), &weight, None, base), "expected xs of four dimensions, got [4, 5, 5]"),
        (message(&xs, &weight.to_dtype(DType::F32).unwrap(), None, base), "expected weight of dtype F64, got F32"),
        (
            message(&xs, &weight, None, Conv2dParams { padding: [[usize::MAX, 1], [0, 0]], ..base }),
            "padding or dilation overflows on axis 2",
        ),
        (
            message(&xs, &weight, None, Conv2dParams { padding: [[1 << 40, 1], [1 << 40, 0]], ..base }),
            "elements is too large",
        ),
    ];
    for (message, part) in checks {
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}

#[test]
fn transposed_errors_say_what_was_expected_and_what_came() {
    let xs = values((1, 4, 5, 5), 1).unwrap();
    let weight = values((4, 2, 3, 3), 2).unwrap();
    let base = ConvTranspose2dParams::default();
    let message = |weight: &Tensor, params: ConvTranspose2dParams| {
        conv_transpose2d(&xs, weight, None, &params).unwrap_err().to_string()
    };
    let checks = [
        (message(&values((3, 2, 3, 3), 2).unwrap(), base), "expected weight dimension 0 to be 4"),
        (message(&weight, ConvTranspose2dParams { groups: 3, ..base }), "in_channels divisible by groups 3, got 4"),
        (message(&weight, ConvTranspose2dParams { output_padding: [0, 1], ..base }), "output_padding less than"),
        (message(&weight, ConvTranspose2dParams { padding: [4, 0], ..base }), "padding less than half of the 7 rows"),
        (message(&weight, ConvTranspose2dParams { stride: [1, 0], ..base }), "stride of at least 1, got [1, 0]"),
    ];
    for (message, part) in checks {
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}
