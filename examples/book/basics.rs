//! One neuron, activations, losses.

use glassbox::lens::{Figure, Section};
use glassbox::prelude::*;

type Points = Vec<(f64, f64)>;

/// `count` values from `low` to `high`.
pub fn grid(low: f64, high: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| low + (high - low) * i as f64 / (count - 1) as f64).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn function(name: &str, low: f64, high: f64, f: impl Fn(f64) -> f64) -> (String, Points) {
    (name.to_string(), grid(low, high, 200).into_iter().map(|x| (x, f(x))).collect())
}

pub fn neuron() -> Result<Figure> {
    let neuron = |name, w: f64, b: f64| function(name, -4.0, 4.0, move |x| sigmoid(w * x + b));
    let curves = vec![neuron("w 1, b 0", 1.0, 0.0), neuron("w 4, b 0", 4.0, 0.0), neuron("w 4, b −6", 4.0, -6.0)];
    Ok(Figure::curves(Section::Learned, "One neuron", ("input x", "σ(w x + b)"), curves))
}

pub fn activations() -> Result<Figure> {
    let xs = grid(-4.0, 4.0, 200);
    let input = Tensor::new(xs.as_slice(), &Device::Cpu)?;
    let curve = |name: &str, activation: Activation| {
        let ys = activation.forward(&input, &Pass::eval())?.to_f64_vec()?;
        Ok::<_, Error>((name.to_string(), xs.iter().copied().zip(ys).collect()))
    };
    let curves = vec![
        curve("sigmoid", Activation::Sigmoid)?,
        curve("tanh", Activation::Tanh)?,
        curve("ReLU", Activation::Relu)?,
        curve("GELU", Activation::Gelu)?,
    ];
    Ok(Figure::curves(Section::Learned, "Activations", ("x", "y"), curves))
}

pub fn bumps() -> Result<Figure> {
    let step = |x: f64, at: f64| (5.0 * (x - at)).tanh() / 2.0;
    let curves = vec![
        function("first neuron", -4.0, 4.0, move |x| step(x, -1.0)),
        function("second, turned over", -4.0, 4.0, move |x| -step(x, 1.0)),
        function("their sum", -4.0, 4.0, move |x| step(x, -1.0) - step(x, 1.0)),
    ];
    Ok(Figure::curves(Section::Learned, "Two neurons make a bump", ("x", "output"), curves))
}

pub fn losses() -> Result<Figure> {
    let curves = vec![
        function("cross-entropy", 0.01, 1.0, |p| -p.ln()),
        function("squared error", 0.01, 1.0, |p| (1.0 - p).powi(2)),
    ];
    Ok(Figure::curves(Section::Learned, "What an answer costs", ("probability given to the truth", "loss"), curves))
}
