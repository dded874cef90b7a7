//! The kernels, with shapes from the workloads.

use glassbox::prelude::candle_core::{Result, Tensor};
use glassbox_kernels::activation::{Activation, activation};
use glassbox_kernels::attention::{AttentionParams, attention_packed};
use glassbox_kernels::concat::concat;
use glassbox_kernels::conv::{Conv2dParams, ConvTranspose2dParams, conv_transpose2d, conv2d, symmetric_padding};
use glassbox_kernels::embedding::embedding;
use glassbox_kernels::graph::add;
use glassbox_kernels::linear::linear;
use glassbox_kernels::loss::{Reduction, bce_with_logits, cross_entropy};
use glassbox_kernels::norm::{batch_norm_train, group_norm, layer_norm, rms_norm};
use glassbox_kernels::pool::{Pool2dParams, avg_pool2d, global_avg_pool2d, max_pool2d};
use glassbox_kernels::recurrent::{RecurrentParams, RecurrentWeights, bidirectional_gru, gru, lstm};
use glassbox_kernels::softmax::{log_softmax, softmax};

use crate::kernel::Case;
use crate::kernel::Input::{Float, Ids};

/// Each kernel's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "conv2d 3x3 1 to 32, 64 of 28x28",
        inputs: &[Float(&[64, 1, 28, 28]), Float(&[32, 1, 3, 3]), Float(&[32])],
        run: |xs| conv(xs, 1, 1, 1),
        multiply_adds: 64 * 28 * 28 * 32 * 9,
    },
    Case {
        name: "conv2d 3x3 32 to 64, 64 of 14x14",
        inputs: &[Float(&[64, 32, 14, 14]), Float(&[64, 32, 3, 3]), Float(&[64])],
        run: |xs| conv(xs, 1, 1, 1),
        multiply_adds: 64 * 14 * 14 * 64 * 32 * 9,
    },
    Case {
        name: "conv2d 3x3 64 to 64, 32 of 32x32",
        inputs: &[Float(&[32, 64, 32, 32]), Float(&[64, 64, 3, 3])],
        run: |xs| conv(xs, 1, 1, 1),
        multiply_adds: 32 * 32 * 32 * 64 * 64 * 9,
    },
    Case {
        name: "conv2d 3x3 512 to 512, 32 of 4x4",
        inputs: &[Float(&[32, 512, 4, 4]), Float(&[512, 512, 3, 3])],
        run: |xs| conv(xs, 1, 1, 1),
        multiply_adds: 32 * 4 * 4 * 512 * 512 * 9,
    },
    Case {
        name: "conv2d 4x4 stride 2 32 to 64, 64 of 16x16",
        inputs: &[Float(&[64, 32, 16, 16]), Float(&[64, 32, 4, 4])],
        run: |xs| conv(xs, 2, 1, 1),
        multiply_adds: 64 * 8 * 8 * 64 * 32 * 16,
    },
    Case {
        name: "conv2d 1x1 128 to 128, 32 of 16x16",
        inputs: &[Float(&[32, 128, 16, 16]), Float(&[128, 128, 1, 1])],
        run: |xs| conv(xs, 1, 0, 1),
        multiply_adds: 32 * 16 * 16 * 128 * 128,
    },
    Case {
        name: "conv2d depthwise 3x3 128, 32 of 16x16",
        inputs: &[Float(&[32, 128, 16, 16]), Float(&[128, 1, 3, 3])],
        run: |xs| conv(xs, 1, 1, 128),
        multiply_adds: 32 * 16 * 16 * 128 * 9,
    },
    Case {
        name: "conv_transpose2d 4x4 stride 2 64 to 32, 64 of 8x8",
        inputs: &[Float(&[64, 64, 8, 8]), Float(&[64, 32, 4, 4])],
        run: |xs| {
            conv_transpose2d(
                &xs[0],
                &xs[1],
                None,
                &ConvTranspose2dParams { stride: [2; 2], padding: [1; 2], ..Default::default() },
            )
        },
        multiply_adds: 64 * 64 * 8 * 8 * 32 * 16,
    },
    Case {
        name: "linear 1024x384 to 1536, gelu",
        inputs: &[Float(&[1024, 384]), Float(&[1536, 384]), Float(&[1536])],
        run: |xs| linear(&xs[0], &xs[1], Some(&xs[2]), Some(Activation::GeluTanh)),
        multiply_adds: 1024 * 384 * 1536,
    },
    Case {
        name: "linear 64x3136 to 128, relu",
        inputs: &[Float(&[64, 3136]), Float(&[128, 3136]), Float(&[128])],
        run: |xs| linear(&xs[0], &xs[1], Some(&xs[2]), Some(Activation::Relu)),
        multiply_adds: 64 * 3136 * 128,
    },
    // Of a backward's five products one computes the scores again: counted are the other four.
    Case {
        name: "attention causal, 4 of 256, 6 heads of 64",
        inputs: &[Float(&[4, 256, 3 * 384])],
        run: |xs| attention_packed(&xs[0], 6, None, &AttentionParams { causal: true, ..Default::default() }),
        multiply_adds: 2 * 4 * 384 * (256 * 257 / 2),
    },
    Case {
        name: "attention, 1 of 2048, 8 heads of 64",
        inputs: &[Float(&[1, 2048, 3 * 512])],
        run: |xs| attention_packed(&xs[0], 8, None, &AttentionParams::default()),
        multiply_adds: 2 * 512 * 2048 * 2048,
    },
    Case {
        name: "lstm 128 to 256, 32 of 64",
        inputs: &[Float(&[32, 64, 128]), Float(&[1024, 128]), Float(&[1024, 256]), Float(&[1024]), Float(&[1024])],
        run: |xs| Ok(lstm(&xs[0], &weights(&xs[1..]), None, &RecurrentParams::default())?.sequence),
        multiply_adds: 32 * 64 * 1024 * (128 + 256),
    },
    Case {
        name: "gru 128 to 256, 32 of 64",
        inputs: &[Float(&[32, 64, 128]), Float(&[768, 128]), Float(&[768, 256]), Float(&[768]), Float(&[768])],
        run: |xs| Ok(gru(&xs[0], &weights(&xs[1..]), None, &RecurrentParams::default())?.sequence),
        multiply_adds: 32 * 64 * 768 * (128 + 256),
    },
    Case {
        name: "gru both ways 512 to 256, 32 of 64",
        inputs: &[
            Float(&[32, 64, 512]),
            Float(&[768, 512]),
            Float(&[768, 256]),
            Float(&[768]),
            Float(&[768]),
            Float(&[768, 512]),
            Float(&[768, 256]),
            Float(&[768]),
            Float(&[768]),
        ],
        run: |xs| Ok(bidirectional_gru(&xs[0], [&weights(&xs[1..]), &weights(&xs[5..])], None, None)?.sequence),
        multiply_adds: 2 * 32 * 64 * 768 * (512 + 256),
    },
    Case {
        name: "max_pool2d 2, 64x32 of 28x28",
        inputs: &[Float(&[64, 32, 28, 28])],
        run: |xs| max_pool2d(&xs[0], &Pool2dParams::new([2; 2])),
        multiply_adds: 0,
    },
    Case {
        name: "avg_pool2d 2, 64x32 of 28x28",
        inputs: &[Float(&[64, 32, 28, 28])],
        run: |xs| avg_pool2d(&xs[0], &Pool2dParams::new([2; 2]), true),
        multiply_adds: 0,
    },
    Case {
        name: "global_avg_pool2d, 64x128 of 14x14",
        inputs: &[Float(&[64, 128, 14, 14])],
        run: |xs| global_avg_pool2d(&xs[0]),
        multiply_adds: 0,
    },
    Case {
        name: "batch_norm, 32x64 of 32x32",
        inputs: &[Float(&[32, 64, 32, 32]), Float(&[64]), Float(&[64])],
        run: |xs| Ok(batch_norm_train(&xs[0], Some(&xs[1]), Some(&xs[2]), 1e-5)?.0),
        multiply_adds: 0,
    },
    Case {
        name: "group_norm 8 groups, 32x64 of 32x32",
        inputs: &[Float(&[32, 64, 32, 32]), Float(&[64]), Float(&[64])],
        run: |xs| group_norm(&xs[0], 8, Some(&xs[1]), Some(&xs[2]), 1e-5),
        multiply_adds: 0,
    },
    Case {
        name: "layer_norm 1024x384",
        inputs: &[Float(&[1024, 384]), Float(&[384]), Float(&[384])],
        run: |xs| layer_norm(&xs[0], Some(&xs[1]), Some(&xs[2]), &[384], 1e-5),
        multiply_adds: 0,
    },
    Case {
        name: "rms_norm 1024x384",
        inputs: &[Float(&[1024, 384]), Float(&[384])],
        run: |xs| rms_norm(&xs[0], &xs[1], 1e-5),
        multiply_adds: 0,
    },
    Case {
        name: "relu 1024x1536",
        inputs: &[Float(&[1024, 1536])],
        run: |xs| activation(&xs[0], Activation::Relu),
        multiply_adds: 0,
    },
    Case {
        name: "gelu (tanh) 1024x1536",
        inputs: &[Float(&[1024, 1536])],
        run: |xs| activation(&xs[0], Activation::GeluTanh),
        multiply_adds: 0,
    },
    Case {
        name: "gelu 1024x1536",
        inputs: &[Float(&[1024, 1536])],
        run: |xs| activation(&xs[0], Activation::Gelu),
        multiply_adds: 0,
    },
    Case {
        name: "silu 1024x1536",
        inputs: &[Float(&[1024, 1536])],
        run: |xs| activation(&xs[0], Activation::Silu),
        multiply_adds: 0,
    },
    Case {
        name: "tanh 1024x1536",
        inputs: &[Float(&[1024, 1536])],
        run: |xs| activation(&xs[0], Activation::Tanh),
        multiply_adds: 0,
    },
    Case {
        name: "sigmoid 1024x1536",
        inputs: &[Float(&[1024, 1536])],
        run: |xs| activation(&xs[0], Activation::Sigmoid),
        multiply_adds: 0,
    },
    Case { name: "softmax 6144x256", inputs: &[Float(&[6144, 256])], run: |xs| softmax(&xs[0], 1), multiply_adds: 0 },
    Case {
        name: "log_softmax 6144x256",
        inputs: &[Float(&[6144, 256])],
        run: |xs| log_softmax(&xs[0], 1),
        multiply_adds: 0,
    },
    Case {
        name: "cross_entropy 1536x8000",
        inputs: &[Float(&[1536, 8000]), Ids { count: 1536, bound: 8000 }],
        run: |xs| cross_entropy(&xs[0], &xs[1], None, 0.0, None, Reduction::Mean),
        multiply_adds: 0,
    },
    Case {
        name: "bce_with_logits 4x128x128",
        inputs: &[Float(&[4, 128, 128])],
        run: |xs| bce_with_logits(&xs[0], &xs[0].ones_like()?, None, Reduction::Mean),
        multiply_adds: 0,
    },
    Case {
        name: "embedding 8000x256, 1536 ids",
        inputs: &[Float(&[8000, 256]), Ids { count: 1536, bound: 8000 }],
        run: |xs| embedding(&xs[0], &xs[1], None),
        multiply_adds: 0,
    },
    Case {
        name: "add 1024x384",
        inputs: &[Float(&[1024, 384]), Float(&[1024, 384])],
        run: |xs| add(&xs[0], &xs[1]),
        multiply_adds: 0,
    },
    Case {
        name: "concat 4x16 with 4x16 of 128x128",
        inputs: &[Float(&[4, 16, 128, 128]), Float(&[4, 16, 128, 128])],
        run: |xs| concat(&[&xs[0], &xs[1]], 1),
        multiply_adds: 0,
    },
];

fn weights(xs: &[Tensor]) -> RecurrentWeights<'_> {
    RecurrentWeights { weight_ih: &xs[0], weight_hh: &xs[1], bias: Some((&xs[2], &xs[3])), weight_hr: None }
}

/// The convolution of the first input with the second, plus the third, if there is one.
fn conv(xs: &[Tensor], stride: usize, padding: usize, groups: usize) -> Result<Tensor> {
    let padding = symmetric_padding([padding; 2]);
    conv2d(&xs[0], &xs[1], xs.get(2), &Conv2dParams { stride: [stride; 2], padding, groups, ..Default::default() })
}
