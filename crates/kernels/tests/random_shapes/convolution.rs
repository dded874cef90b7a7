//! Convolution and transposed convolution of sequences, images and volumes; with a tail.

use glassbox_kernels::activation::Activation;
use glassbox_kernels::conv::*;
use glassbox_kernels::pool::Pool2dParams;
use glassbox_kernels::tail::{Tail, TailBatchNorm};

use crate::check::check;
use crate::draw::{Case, Draw, Input, Scale, typed};

/// What there is along one axis.
#[derive(Clone, Copy, Debug)]
struct Along {
    input: usize,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
    dilation: usize,
    output_padding: usize,
}

impl Along {
    /// A kernel that fits.
    fn draw(draw: &mut Draw) -> Self {
        let (kernel, stride, dilation) = (draw.from(1..=4), draw.from(1..=3), draw.from(1..=2));
        let padding = [draw.below(3), draw.below(3)];
        let reach = dilation * (kernel - 1) + 1;
        let input = draw.size().max(reach.saturating_sub(padding[0] + padding[1])).max(1);
        Self { input, kernel, stride, padding, dilation, output_padding: draw.below(stride.max(dilation)) }
    }

    /// Padding that leaves something of a transposed convolution's output.
    fn cut(self) -> usize {
        let full = (self.input - 1) * self.stride + self.dilation * (self.kernel - 1) + self.output_padding + 1;
        self.padding[0].min((full - 1) / 2)
    }
}

/// Groups, channels in, channels out; sometimes depthwise.
fn channels(draw: &mut Draw) -> [usize; 3] {
    let groups = draw.from(1..=3);
    let (inputs, outputs) = (draw.channels(groups), draw.channels(groups));
    match draw.below(4) {
        0 => [inputs, inputs, inputs * draw.from(1..=2)],
        _ => [groups, inputs, outputs],
    }
}

/// (samples, channels, axes...), (channels out, channels in / groups, kernel...), bias.
fn operands(draw: &mut Draw, [groups, inputs, outputs]: [usize; 3], axes: &[Along], transposed: bool) -> Vec<Input> {
    let batch = draw.batch();
    let sizes = axes.iter().map(|axis| axis.input);
    let kernel = axes.iter().map(|axis| axis.kernel);
    let rows = if transposed { [inputs, outputs / groups] } else { [outputs, inputs / groups] };
    let xs: Vec<usize> = [batch, inputs].into_iter().chain(sizes).collect();
    let weight: Vec<usize> = rows.into_iter().chain(kernel).collect();
    let mut operands = vec![draw.input(&xs), draw.input(&weight), draw.input(&[outputs])];
    if draw.flag() {
        operands.pop();
    }
    operands
}

/// Everything that is drawn for a convolution of `N` dimensions.
struct Setup<const N: usize> {
    axes: [Along; N],
    groups: usize,
    operands: Vec<Input>,
}

fn setup<const N: usize>(draw: &mut Draw, transposed: bool) -> Setup<N> {
    let channels = channels(draw);
    let mut axes = [(); N].map(|()| Along::draw(draw));
    if N == 3 && draw.scale == Scale::Large {
        axes[0].input = axes[0].input.min(4).max(axes[0].kernel * 2);
        axes[1].input = axes[1].input.min(11);
        axes[2].input = axes[2].input.min(11);
    }
    Setup { axes, groups: channels[0], operands: operands(draw, channels, &axes, transposed) }
}

fn case1d(draw: &mut Draw) -> Case {
    let Setup { axes: [axis], groups, operands } = setup(draw, false);
    let Along { stride, padding, dilation, .. } = axis;
    let params = Conv1dParams { stride, padding, dilation, groups };
    Case::new(params, operands, move |t| conv1d(&t[0], &t[1], t.get(2), &params))
}

fn params2d(axes: &[Along; 2], groups: usize) -> Conv2dParams {
    Conv2dParams {
        stride: axes.map(|axis| axis.stride),
        padding: axes.map(|axis| axis.padding),
        dilation: axes.map(|axis| axis.dilation),
        groups,
    }
}

fn case2d(draw: &mut Draw) -> Case {
    let Setup { axes, groups, operands } = setup(draw, false);
    let params = params2d(&axes, groups);
    Case::new(params, operands, move |t| conv2d(&t[0], &t[1], t.get(2), &params))
}

/// Kernels of 3 x 3 or 2 x 2, or of 4 x 4 at stride 2, for which there is an algorithm of its own, and of 1 x 1.
fn usual(draw: &mut Draw, transposed: bool) -> Setup<2> {
    let (kernel, stride, padding) = draw.one_of(&[(3, 1, 1), (3, 1, 1), (4, 2, 1), (2, 1, 0), (2, 1, 1), (1, 1, 0)]);
    let plain = Along { input: 1, kernel, stride, padding: [padding; 2], dilation: 1, output_padding: 0 };
    let axes = [(); 2].map(|()| Along { input: draw.size().max(kernel), ..plain });
    let (inputs, outputs) = (draw.either(1..=5, 16..=40), draw.either(1..=5, 16..=40));
    Setup { axes, groups: 1, operands: operands(draw, [1, inputs, outputs], &axes, transposed) }
}

fn case2d_of_usual_kernels(draw: &mut Draw) -> Case {
    let Setup { axes, groups, operands } = usual(draw, false);
    let params = params2d(&axes, groups);
    Case::new(params, operands, move |t| conv2d(&t[0], &t[1], t.get(2), &params))
}

fn transposed2d_of_usual_kernels(draw: &mut Draw) -> Case {
    let Setup { axes, groups, operands } = usual(draw, true);
    let params = params_of_transposed(&axes, groups);
    Case::new(params, operands, move |t| conv_transpose2d(&t[0], &t[1], t.get(2), &params))
}

fn case3d(draw: &mut Draw) -> Case {
    let Setup { axes, groups, operands } = setup(draw, false);
    let params = Conv3dParams {
        stride: axes.map(|axis| axis.stride),
        padding: axes.map(|axis| axis.padding),
        dilation: axes.map(|axis| axis.dilation),
        groups,
    };
    Case::new(params, operands, move |t| conv3d(&t[0], &t[1], t.get(2), &params))
}

fn transposed1d(draw: &mut Draw) -> Case {
    let Setup { axes: [axis], groups, operands } = setup(draw, true);
    let Along { stride, dilation, output_padding, .. } = axis;
    let params = ConvTranspose1dParams { stride, padding: axis.cut(), output_padding, dilation, groups };
    Case::new(params, operands, move |t| conv_transpose1d(&t[0], &t[1], t.get(2), &params))
}

fn params_of_transposed(axes: &[Along; 2], groups: usize) -> ConvTranspose2dParams {
    ConvTranspose2dParams {
        stride: axes.map(|axis| axis.stride),
        padding: axes.map(Along::cut),
        output_padding: axes.map(|axis| axis.output_padding),
        dilation: axes.map(|axis| axis.dilation),
        groups,
    }
}

fn transposed2d(draw: &mut Draw) -> Case {
    let Setup { axes, groups, operands } = setup(draw, true);
    let params = params_of_transposed(&axes, groups);
    Case::new(params, operands, move |t| conv_transpose2d(&t[0], &t[1], t.get(2), &params))
}

fn transposed3d(draw: &mut Draw) -> Case {
    let Setup { axes, groups, operands } = setup(draw, true);
    let params = ConvTranspose3dParams {
        stride: axes.map(|axis| axis.stride),
        padding: axes.map(Along::cut),
        output_padding: axes.map(|axis| axis.output_padding),
        dilation: axes.map(|axis| axis.dilation),
        groups,
    };
    Case::new(params, operands, move |t| conv_transpose3d(&t[0], &t[1], t.get(2), &params))
}

/// A convolution with batch normalisation, a residual, an activation and pooling, some or all of them.
fn with_tail(draw: &mut Draw, training: bool) -> Case {
    let Setup { axes, groups, operands } = setup::<2>(draw, false);
    let params = params2d(&axes, groups);
    let sizes = axes.map(|axis| {
        (axis.input + axis.padding[0] + axis.padding[1] - axis.dilation * (axis.kernel - 1) - 1) / axis.stride + 1
    });
    let (batch, outputs) = (operands[0].dims[0], operands[1].dims[0]);
    let mut inputs: Vec<Input> = operands;
    if training {
        // Normalising takes it away again, so that its gradient is nothing but rounding.
        inputs.truncate(2);
    }
    let has_bias = inputs.len() == 3;
    // Statistics of a few elements are steep where these are alike.
    let (eps, has_residual) = (0.3, draw.flag());
    inputs.extend([draw.input(&[outputs]), draw.input(&[outputs]), draw.input(&[batch, outputs, sizes[0], sizes[1]])]);
    if !has_residual {
        inputs.pop();
    }
    let (mean, variance) = (draw.constant(&[outputs]), ((draw.constant(&[outputs]) + 1.5).unwrap()));
    let function = draw.one_of(&[None, Some(Activation::Relu), Some(Activation::Gelu), Some(Activation::Tanh)]);
    let pool = Pool2dParams { ceil_mode: draw.flag(), ..Pool2dParams::new(sizes.map(|size| size.min(2))) };
    let pool = draw.flag().then_some(pool);
    Case::new((params, training, function, pool), inputs, move |t| {
        let (bias, rest) = if has_bias { (Some(&t[2]), &t[3..]) } else { (None, &t[2..]) };
        let (mean, variance) = (typed(&mean, &t[0])?, typed(&variance, &t[0])?);
        let statistics = (!training).then_some((&mean, &variance));
        let norm = TailBatchNorm { weight: Some(&rest[0]), bias: Some(&rest[1]), statistics, eps };
        let tail = Tail { batch_norm: Some(norm), residual: rest.get(2), activation: function, max_pool: pool };
        let tailed = conv2d_with(&t[0], &t[1], bias, &params, &tail)?;
        match tailed.statistics {
            Some((mean, variance)) if !mean.track_op() && !variance.track_op() => Ok(tailed.output),
            None if !training => Ok(tailed.output),
            _ => candle_core::bail!("statistics are there in training alone, and detached"),
        }
    })
}

/// A transposed convolution with batch normalisation and an activation.
fn transposed_with_tail(draw: &mut Draw) -> Case {
    let Setup { axes, groups, operands } = setup::<2>(draw, true);
    let params = params_of_transposed(&axes, groups);
    let outputs = operands[1].dims[1] * groups;
    let has_bias = operands.len() == 3;
    let inputs: Vec<Input> = operands.into_iter().chain([draw.input(&[outputs]), draw.input(&[outputs])]).collect();
    let (mean, variance) = (draw.constant(&[outputs]), (draw.constant(&[outputs]) + 1.5).unwrap());
    let function = draw.one_of(&[Activation::Relu, Activation::Silu, Activation::Tanh]);
    Case::new((params, function), inputs, move |t| {
        let (bias, rest) = if has_bias { (Some(&t[2]), &t[3..]) } else { (None, &t[2..]) };
        let (mean, variance) = (typed(&mean, &t[0])?, typed(&variance, &t[0])?);
        let statistics = Some((&mean, &variance));
        let norm = TailBatchNorm { weight: Some(&rest[0]), bias: Some(&rest[1]), statistics, eps: 0.3 };
        let tail = Tail { batch_norm: Some(norm), activation: Some(function), ..Tail::default() };
        conv_transpose2d_with(&t[0], &t[1], bias, &params, &tail).map(|tailed| tailed.output)
    })
}

#[test]
fn of_sequences() {
    check("conv1d", case1d);
    check("conv_transpose1d", transposed1d);
}

#[test]
fn of_images() {
    check("conv2d", case2d);
    check("conv2d_of_usual_kernels", case2d_of_usual_kernels);
    check("conv_transpose2d", transposed2d);
    check("conv_transpose2d_of_usual_kernels", transposed2d_of_usual_kernels);
}

#[test]
fn of_volumes() {
    check("conv3d", case3d);
    check("conv_transpose3d", transposed3d);
}

#[test]
fn of_images_with_a_tail() {
    check("conv2d_with_tail_in_training", |draw| {
        // At least two elements a channel.
        let mut case = with_tail(draw, true);
        while draw.scale == Scale::Small && case.inputs[0].dims[0] < 2 {
            case = with_tail(draw, true);
        }
        case
    });
    check("conv2d_with_tail", |draw| with_tail(draw, false));
    check("conv_transpose2d_with_tail", transposed_with_tail);
}
