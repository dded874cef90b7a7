//! Activations, dropout, products, sums, indexes and what joins them.

use glassbox_kernels::activation::{Activation, activation, prelu};
use glassbox_kernels::concat::concat;
use glassbox_kernels::dropout::{channel_dropout, dropout};
use glassbox_kernels::embedding::embedding;
use glassbox_kernels::index::{gather, index_select, scatter_add};
use glassbox_kernels::linear::linear;
use glassbox_kernels::{graph, reduce};

use crate::check::check;
use crate::draw::{Case, Draw, joined, typed};

const ACTIVATIONS: [Activation; 13] = [
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::LeakyRelu(0.1),
    Activation::Elu(1.3),
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Softplus { beta: 2.0, threshold: 5.0 },
    Activation::Mish,
    Activation::HardSwish,
    Activation::HardSigmoid,
    Activation::LogSigmoid,
];

/// (batch, size, size), or more of either.
fn shape(draw: &mut Draw) -> Vec<usize> {
    let mut shape = vec![draw.batch(), draw.size(), draw.size(), draw.from(1..=3)];
    shape.truncate(draw.from(3..=4));
    shape
}

/// All of them, at values from -4 to 4.
fn activations(draw: &mut Draw) -> Case {
    let shape = [draw.batch(), draw.size(), draw.size()];
    Case::new((), vec![draw.input(&shape)], |t| {
        let wide = (&t[0] * 4.0)?;
        joined(&ACTIVATIONS.map(|function| activation(&wide, function)).into_iter().collect::<Result<Vec<_>, _>>()?)
    })
}

fn learned_slopes(draw: &mut Draw) -> Case {
    let shape = shape(draw);
    let slopes = draw.one_of(&[1, shape[1]]);
    Case::new((), vec![draw.input(&shape), draw.input(&[slopes])], |t| prelu(&t[0], &t[1]))
}

fn dropped(draw: &mut Draw) -> Case {
    let (shape, p, whole) = (shape(draw), draw.one_of(&[0.0, 0.3, 0.8, 1.0]), draw.flag());
    Case::new((p, whole), vec![draw.input(&shape)], move |t| {
        if whole { channel_dropout(&t[0], p, 11) } else { dropout(&t[0], p, 11) }
    })
}

fn product(draw: &mut Draw) -> Case {
    let (inputs, outputs) = (draw.either(1..=9, 20..=90), draw.either(1..=9, 20..=90));
    let shape = [draw.batch(), draw.from(1..=4), inputs];
    let mut operands = vec![draw.input(&shape), draw.input(&[outputs, inputs]), draw.input(&[outputs])];
    if draw.flag() {
        operands.pop();
    }
    let function = draw.flag().then_some(draw.one_of(&ACTIVATIONS));
    Case::new(function, operands, move |t| linear(&t[0], &t[1], t.get(2), function))
}

fn sums(draw: &mut Draw) -> Case {
    let (shape, dim) = (shape(draw), draw.below(3));
    Case::new(dim, vec![draw.input(&shape)], move |t| joined(&[reduce::sum(&t[0], dim)?, reduce::sum_all(&t[0])?]))
}

/// Not over the samples, since the mean of nothing is no number.
fn means(draw: &mut Draw) -> Case {
    let (shape, dim) = (shape(draw), draw.from(1..=2));
    Case::new(dim, vec![draw.input(&shape)], move |t| reduce::mean(&t[0], dim))
}

fn mean_of_all(draw: &mut Draw) -> Case {
    let shape = shape(draw);
    Case::new((), vec![draw.input(&shape)], |t| reduce::mean_all(&t[0]))
}

fn rows_of_a_table(draw: &mut Draw) -> Case {
    let (num, width) = (draw.either(1..=6, 50..=90), draw.either(1..=5, 20..=40));
    let ids = [draw.batch(), draw.either(1..=4, 30..=50)];
    let ids = draw.ids(&ids, num);
    let padding = draw.flag().then(|| draw.below(num));
    Case::new(padding, vec![draw.input(&[num, width])], move |t| {
        let ys = embedding(&t[0], &ids, padding)?;
        let Some(padding) = padding else { return Ok(ys) };
        // The row gets no gradient, so it may not matter either.
        let used = typed(&ids.ne(padding as f64)?, &t[0])?.unsqueeze(2)?;
        ys.broadcast_mul(&used)
    })
}

fn slices(draw: &mut Draw) -> Case {
    let (shape, dim) = (shape(draw), draw.from(1..=2));
    let ids = [draw.either(1..=5, 30..=50)];
    let ids = draw.ids(&ids, shape[dim]);
    Case::new(dim, vec![draw.input(&shape)], move |t| index_select(&t[0], &ids, dim))
}

/// Shapes of ids: along `dim`, more or fewer than there are.
fn ids_along(draw: &mut Draw, shape: &[usize], dim: usize) -> Vec<usize> {
    let mut dims = shape.to_vec();
    dims[dim] = draw.either(1..=5, 10..=20);
    dims
}

fn gathered(draw: &mut Draw) -> Case {
    let (shape, dim) = (shape(draw), draw.from(1..=2));
    let mut dims = ids_along(draw, &shape, dim);
    // Elsewhere there may be fewer.
    dims[3 - dim] = draw.from(1..=dims[3 - dim]);
    let ids = draw.ids(&dims, shape[dim]);
    Case::new((dim, dims), vec![draw.input(&shape)], move |t| gather(&t[0], &ids, dim))
}

fn scattered(draw: &mut Draw) -> Case {
    let (shape, dim) = (shape(draw), draw.from(1..=2));
    let dims = ids_along(draw, &shape, dim);
    let ids = draw.ids(&dims, shape[dim]);
    Case::new(dim, vec![draw.input(&shape), draw.input(&dims)], move |t| scatter_add(&t[0], &ids, &t[1], dim))
}

fn side_by_side(draw: &mut Draw) -> Case {
    let (shape, dim, count) = (shape(draw), draw.below(3), draw.from(2..=4));
    let part = |draw: &mut Draw| {
        let mut dims = shape.clone();
        if dim > 0 {
            dims[dim] = draw.size();
        }
        draw.input(&dims)
    };
    let parts = (0..count).map(|_| part(draw)).collect();
    Case::new(dim, parts, move |t| concat(t, dim))
}

/// A residual and a constant that is repeated, around changes of shape.
fn branches(draw: &mut Draw) -> Case {
    let shape = shape(draw);
    let inputs = vec![draw.input(&shape), draw.input(&shape), draw.input(&shape[1..]), draw.input(&shape[2..])];
    Case::new((), inputs, move |t| {
        let rows = [shape[0] * shape[1], shape[2..].iter().product()];
        let sum = graph::add(&graph::add(&t[0], &t[2])?, &t[3])?;
        let flat = graph::add(&graph::reshape(&sum, rows.as_slice())?, &graph::reshape(&t[1], rows.as_slice())?)?;
        graph::add(&graph::reshape(&flat, shape.as_slice())?, &sum)
    })
}

#[test]
fn functions_of_elements() {
    check("activation", activations);
    check("prelu", learned_slopes);
    check("dropout", dropped);
}

#[test]
fn products_and_sums() {
    check("linear", product);
    check("sum", sums);
    check("mean", means);
    check("mean_all", mean_of_all);
}

#[test]
fn places() {
    check("embedding", rows_of_a_table);
    check("index_select", slices);
    check("gather", gathered);
    check("scatter_add", scattered);
}

#[test]
fn joins() {
    check("concat", side_by_side);
    check("graph", branches);
}
