//! Pooling and resampling.

use glassbox_kernels::pool::*;
use glassbox_kernels::upsample::{upsample_bilinear2d, upsample_nearest2d};

use crate::check::check;
use crate::draw::{Case, Draw, Scale};

/// What there is along one axis: the input, and windows that fit in it.
#[derive(Clone, Copy)]
struct Along {
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Along {
    fn draw(draw: &mut Draw) -> Self {
        let kernel = draw.from(1..=4);
        let (stride, padding) = (draw.from(1..=4), draw.below(kernel / 2 + 1));
        let input = draw.size().max(kernel - 2 * padding).max(1);
        Self { input, kernel, stride, padding }
    }
}

fn shape(draw: &mut Draw, axes: &[Along]) -> Vec<usize> {
    let mut shape = vec![draw.batch(), draw.either(1..=3, 2..=6)];
    shape.extend(axes.iter().map(|axis| axis.input));
    shape
}

/// `size` per axis, fewer where there are three of many elements.
fn axes<const N: usize>(draw: &mut Draw) -> [Along; N] {
    let mut axes = [(); N].map(|()| Along::draw(draw));
    if N == 3 && draw.scale == Scale::Large {
        axes.iter_mut().for_each(|axis| axis.input = axis.input.min(9));
    }
    axes
}

fn params1d(draw: &mut Draw, axis: Along) -> Pool1dParams {
    Pool1dParams { kernel: axis.kernel, stride: axis.stride, padding: axis.padding, ceil_mode: draw.flag() }
}

fn params2d(draw: &mut Draw, axes: [Along; 2]) -> Pool2dParams {
    Pool2dParams {
        kernel: axes.map(|axis| axis.kernel),
        stride: axes.map(|axis| axis.stride),
        padding: axes.map(|axis| axis.padding),
        ceil_mode: draw.flag(),
    }
}

fn params3d(draw: &mut Draw, axes: [Along; 3]) -> Pool3dParams {
    Pool3dParams {
        kernel: axes.map(|axis| axis.kernel),
        stride: axes.map(|axis| axis.stride),
        padding: axes.map(|axis| axis.padding),
        ceil_mode: draw.flag(),
    }
}

fn max1d(draw: &mut Draw) -> Case {
    let [axis] = axes(draw);
    let (params, shape) = (params1d(draw, axis), shape(draw, &[axis]));
    Case::new(params, vec![draw.distinct(&shape)], move |t| max_pool1d(&t[0], &params))
}

fn max2d(draw: &mut Draw) -> Case {
    let axes = axes(draw);
    let (params, shape) = (params2d(draw, axes), shape(draw, &axes));
    Case::new(params, vec![draw.distinct(&shape)], move |t| max_pool2d(&t[0], &params))
}

/// Windows of 2 x 2 side by side, which have a loop of their own.
fn max2d_of_pairs(draw: &mut Draw) -> Case {
    let axes = [(); 2].map(|()| Along { input: draw.size() + 1, kernel: 2, stride: 2, padding: 0 });
    let (params, shape) = (params2d(draw, axes), shape(draw, &axes));
    Case::new(params, vec![draw.distinct(&shape)], move |t| max_pool2d(&t[0], &params))
}

fn max3d(draw: &mut Draw) -> Case {
    let axes = axes(draw);
    let (params, shape) = (params3d(draw, axes), shape(draw, &axes));
    Case::new(params, vec![draw.distinct(&shape)], move |t| max_pool3d(&t[0], &params))
}

fn average1d(draw: &mut Draw) -> Case {
    let [axis] = axes(draw);
    let (params, shape, counts) = (params1d(draw, axis), shape(draw, &[axis]), draw.flag());
    Case::new((params, counts), vec![draw.input(&shape)], move |t| avg_pool1d(&t[0], &params, counts))
}

fn average2d(draw: &mut Draw) -> Case {
    let axes = axes(draw);
    let (params, shape, counts) = (params2d(draw, axes), shape(draw, &axes), draw.flag());
    Case::new((params, counts), vec![draw.input(&shape)], move |t| avg_pool2d(&t[0], &params, counts))
}

fn average3d(draw: &mut Draw) -> Case {
    let axes = axes(draw);
    let (params, shape, counts) = (params3d(draw, axes), shape(draw, &axes), draw.flag());
    Case::new((params, counts), vec![draw.input(&shape)], move |t| avg_pool3d(&t[0], &params, counts))
}

fn adaptive1d(draw: &mut Draw) -> Case {
    let axes: [Along; 1] = axes(draw);
    let (shape, size) = (shape(draw, &axes), draw.from(1..=7));
    Case::new(size, vec![draw.input(&shape)], move |t| adaptive_avg_pool1d(&t[0], size))
}

fn adaptive2d(draw: &mut Draw) -> Case {
    let axes: [Along; 2] = axes(draw);
    let (shape, size) = (shape(draw, &axes), [draw.from(1..=7), draw.from(1..=7)]);
    Case::new(size, vec![draw.input(&shape)], move |t| adaptive_avg_pool2d(&t[0], size))
}

fn adaptive3d(draw: &mut Draw) -> Case {
    let axes: [Along; 3] = axes(draw);
    let (shape, size) = (shape(draw, &axes), [(); 3].map(|()| draw.from(1..=5)));
    Case::new(size, vec![draw.input(&shape)], move |t| adaptive_avg_pool3d(&t[0], size))
}

fn global(draw: &mut Draw) -> Case {
    let axes: [Along; 2] = axes(draw);
    let shape = shape(draw, &axes);
    Case::new((), vec![draw.input(&shape)], |t| global_avg_pool2d(&t[0]))
}

fn nearest(draw: &mut Draw) -> Case {
    let axes: [Along; 2] = axes(draw);
    let (shape, size) = (shape(draw, &axes), [draw.from(1..=9), draw.from(1..=9)]);
    Case::new(size, vec![draw.input(&shape)], move |t| upsample_nearest2d(&t[0], size[0], size[1]))
}

fn bilinear(draw: &mut Draw) -> Case {
    let axes: [Along; 2] = axes(draw);
    let (shape, size, aligned) = (shape(draw, &axes), [draw.from(1..=9), draw.from(1..=9)], draw.flag());
    Case::new((size, aligned), vec![draw.input(&shape)], move |t| upsample_bilinear2d(&t[0], size[0], size[1], aligned))
}

#[test]
fn maxima() {
    check("max_pool1d", max1d);
    check("max_pool2d", max2d);
    check("max_pool2d_of_pairs", max2d_of_pairs);
    check("max_pool3d", max3d);
}

#[test]
fn means() {
    check("avg_pool1d", average1d);
    check("avg_pool2d", average2d);
    check("avg_pool3d", average3d);
    check("adaptive_avg_pool1d", adaptive1d);
    check("adaptive_avg_pool2d", adaptive2d);
    check("adaptive_avg_pool3d", adaptive3d);
    check("global_avg_pool2d", global);
}

#[test]
fn resampling() {
    check("upsample_nearest2d", nearest);
    check("upsample_bilinear2d", bilinear);
}
