//! Normalisation, softmaxes and losses.

use candle_core::{DType, Tensor};
use glassbox_kernels::loss::{CtcParams, Reduction, bce_with_logits, cross_entropy, ctc};
use glassbox_kernels::norm::*;
use glassbox_kernels::softmax::{log_softmax, softmax};

use crate::check::{check, check_alone};
use crate::draw::{Case, Draw, Input, typed};

/// Added to variances: large enough for central differences where a few elements are nearly alike.
const EPS: f64 = 0.1;

const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

/// The parameters that there are, of (weight, bias).
fn affine(draw: &mut Draw, shape: &[usize]) -> (Vec<Input>, [bool; 2]) {
    let given = [draw.flag(), draw.flag()];
    (given.iter().filter(|&&given| given).map(|_| draw.input(shape)).collect(), given)
}

/// Weight and bias among the operands after the first.
fn parameters(t: &[Tensor], [weight, bias]: [bool; 2]) -> (Option<&Tensor>, Option<&Tensor>) {
    let mut rest = t[1..].iter();
    (if weight { rest.next() } else { None }, if bias { rest.next() } else { None })
}

/// (batch, channels, ...) of `rank` dimensions.
fn shape(draw: &mut Draw, channels: usize) -> Vec<usize> {
    let (batch, rest) = (draw.batch(), draw.below(4));
    [batch, channels].into_iter().chain((0..rest).map(|_| draw.either(1..=4, 4..=11))).collect()
}

fn batch_train(draw: &mut Draw) -> Case {
    let channels = draw.either(1..=4, 1..=20);
    let mut dims = shape(draw, channels);
    // At least two elements a channel.
    dims.push(draw.from(2..=3));
    dims.truncate(5);
    if dims.len() == 5 {
        dims[4] = dims[4].max(2);
    }
    let (parameters_of, given) = affine(draw, &[channels]);
    let inputs: Vec<Input> = [draw.distinct(&dims)].into_iter().chain(parameters_of).collect();
    Case::new(given, inputs, move |t| {
        let (weight, bias) = parameters(t, given);
        let (ys, mean, var) = batch_norm_train(&t[0], weight, bias, EPS)?;
        if mean.track_op() || var.track_op() {
            candle_core::bail!("statistics are detached")
        }
        Ok(ys)
    })
}

fn batch_eval(draw: &mut Draw) -> Case {
    let channels = draw.either(1..=4, 1..=20);
    let dims = shape(draw, channels);
    let (mean, var) = (draw.constant(&[channels]), (draw.constant(&[channels]) + 1.2).unwrap());
    let (parameters_of, given) = affine(draw, &[channels]);
    let inputs: Vec<Input> = [draw.input(&dims)].into_iter().chain(parameters_of).collect();
    Case::new(given, inputs, move |t| {
        let (weight, bias) = parameters(t, given);
        batch_norm_eval(&t[0], &typed(&mean, &t[0])?, &typed(&var, &t[0])?, weight, bias, EPS)
    })
}

fn layer(draw: &mut Draw) -> Case {
    let (batch, rank) = (draw.batch(), draw.from(1..=2));
    let dims = [batch, draw.either(1..=3, 5..=9), draw.either(1..=5, 7..=40), draw.either(1..=3, 3..=9)];
    let normalized = dims[4 - rank..].to_vec();
    let (parameters_of, given) = affine(draw, &normalized);
    let inputs: Vec<Input> = [draw.input(&dims)].into_iter().chain(parameters_of).collect();
    Case::new((given, normalized.clone()), inputs, move |t| {
        let (weight, bias) = parameters(t, given);
        layer_norm(&t[0], weight, bias, &normalized, EPS)
    })
}

fn rms(draw: &mut Draw) -> Case {
    let (batch, width) = (draw.batch(), draw.either(1..=9, 33..=80));
    let dims = [batch, draw.either(1..=4, 11..=30), width];
    let inputs = vec![draw.input(&dims), draw.input(&[width])];
    Case::new((), inputs, |t| rms_norm(&t[0], &t[1], EPS))
}

fn group(draw: &mut Draw) -> Case {
    let groups = draw.from(1..=3);
    let channels = draw.channels(groups);
    let dims = shape(draw, channels);
    let (parameters_of, given) = affine(draw, &[channels]);
    let inputs: Vec<Input> = [draw.input(&dims)].into_iter().chain(parameters_of).collect();
    Case::new((groups, given), inputs, move |t| {
        let (weight, bias) = parameters(t, given);
        group_norm(&t[0], groups, weight, bias, EPS)
    })
}

fn probabilities(draw: &mut Draw) -> Case {
    let dims = [draw.batch(), draw.size(), draw.size()];
    let (dim, log) = (draw.below(3), draw.flag());
    // Of equal values there would be no gradient.
    Case::new((dim, log), vec![draw.distinct(&dims)], move |t| {
        let wide = (&t[0] * 5.0)?;
        if log { log_softmax(&wide, dim) } else { softmax(&wide, dim) }
    })
}

/// With and without class weights, smoothing and rows to ignore.
fn classes(draw: &mut Draw) -> Case {
    let classes = draw.either(1..=6, 40..=90);
    let leading = [draw.batch(), draw.either(1..=3, 11..=17)];
    let logits = draw.input(&[&leading[..], &[classes]].concat());
    let (targets, smoothing, reduction) = (draw.ids(&leading, classes), draw.below(3), draw.one_of(&REDUCTIONS));
    let ignored = draw.flag().then(|| draw.below(classes) as i64);
    let weight = (draw.constant(&[classes]) + 1.5).unwrap();
    let weight = draw.flag().then_some(weight);
    let smoothing = 0.15 * smoothing as f64;
    Case::new((reduction, ignored, smoothing, weight.is_some()), vec![logits], move |t| {
        cross_entropy(&t[0], &targets, weight.as_ref(), smoothing, ignored, reduction)
    })
}

fn binary(draw: &mut Draw) -> Case {
    let width = draw.size();
    let dims = [draw.batch(), draw.size(), width];
    let targets = draw.constant(&dims).affine(0.5, 0.5).unwrap();
    let (reduction, weight) = (draw.one_of(&REDUCTIONS), (draw.constant(&[width]) + 1.5).unwrap());
    let weight = draw.flag().then_some(weight);
    Case::new((reduction, weight.is_some()), vec![draw.input(&dims)], move |t| {
        let weight = weight.as_ref().map(|weight| typed(weight, &t[0])).transpose()?;
        let ys = bce_with_logits(&t[0], &typed(&targets, &t[0])?, weight.as_ref(), reduction)?;
        // The mean of no losses is no number.
        if t[0].elem_count() == 0 && reduction == Reduction::Mean {
            let mean = ys.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            if !mean.is_nan() {
                candle_core::bail!("expected NaN for the mean of nothing, got {mean}");
            }
        }
        Ok(ys)
    })
}

/// Some targets fit no path.
fn alignments(draw: &mut Draw) -> Case {
    let (batch, len, classes) = (draw.batch(), draw.either(1..=6, 30..=50), draw.either(2..=4, 30..=50));
    let longest = draw.either(1..=3, 5..=20);
    let blank = draw.one_of(&[0, classes - 1]);
    // All classes but the blank.
    let targets =
        (draw.ids(&[batch, longest], classes - 1).to_dtype(DType::F64).unwrap() + f64::from(blank == 0)).unwrap();
    let targets = targets.to_dtype(DType::U32).unwrap();
    let (steps, labels) = (draw.lengths(batch, len), draw.lengths(batch, longest));
    let (reduction, has_lengths) = (draw.one_of(&REDUCTIONS), draw.flag());
    Case::new((reduction, blank), vec![draw.input(&[batch, len, classes])], move |t| {
        let input_lengths = has_lengths.then_some(&steps[..]);
        let target_lengths = has_lengths.then_some(&labels[..]);
        ctc(&t[0], &targets, &CtcParams { input_lengths, target_lengths, blank, zero_infinity: true, reduction })
    })
}

#[test]
fn norms() {
    check("batch_norm_train", batch_train);
    check("batch_norm_eval", batch_eval);
    check("layer_norm", layer);
    check("rms_norm", rms);
    check("group_norm", group);
}

#[test]
fn softmaxes() {
    check("softmax", probabilities);
}

#[test]
fn losses() {
    check("cross_entropy", classes);
    check("bce_with_logits", binary);
    check_alone("ctc", alignments);
}
