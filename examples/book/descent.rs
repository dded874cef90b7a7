//! Descent in a valley.

use glassbox::Init;
use glassbox::lens::{Figure, Section};
use glassbox::prelude::*;

/// Where optimizers start.
const START: [f32; 2] = [-4.0, 1.0];

/// x² / 2 + 10 y²: twenty times as steep across as along.
fn height(place: &Tensor) -> Result<Tensor> {
    let steepness = Tensor::new(&[0.5f32, 10.0], &Device::Cpu)?;
    Ok((place.sqr()? * steepness)?.sum_all()?)
}

type Made = Result<Box<dyn Optimizer>>;

/// The places and heights on the way down.
fn walk(steps: usize, make: impl Fn(&ParamStore) -> Made) -> Result<Vec<([f64; 2], f64)>> {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let place = params.root().param("place", 2, Init::Zeros)?;
    place.set(&Tensor::new(&START, &Device::Cpu)?)?;
    let mut optimizer = make(&params)?;
    let mut path = vec![];
    for _ in 0..=steps {
        let loss = height(&place.get(&Pass::train(Seed(0))))?;
        let at = place.value().to_f64_vec()?;
        path.push(([at[0], at[1]], loss.to_f64()?));
        optimizer.step(&Gradients::of(&loss, &params)?, 1.0)?;
    }
    Ok(path)
}

pub fn valley() -> Result<Figure> {
    let path = |name: &str, make: fn(&ParamStore) -> Made| {
        let places = walk(40, make)?.into_iter().map(|([x, y], _)| (x, y)).collect();
        Ok::<_, Error>((name.to_string(), places))
    };
    let curves = vec![
        path("gradient descent", |params| Ok(Box::new(Sgd::new(params, 0.095)?)))?,
        path("with momentum", |params| Ok(Box::new(Sgd::new(params, 0.02)?.momentum(0.8))))?,
        path("Adam", |params| Ok(Box::new(Adam::new(params, 0.3)?)))?,
    ];
    Ok(Figure::curves(Section::Run, "Ways down a valley", ("along the valley", "across"), curves))
}

pub fn rates() -> Result<Figure> {
    let curve = |rate: f64| {
        let heights = walk(40, |params| Ok(Box::new(Sgd::new(params, rate)?)))?;
        let points = heights.into_iter().enumerate().map(|(step, (_, height))| (step as f64, height)).collect();
        Ok::<_, Error>((format!("rate {rate}"), points))
    };
    let curves = vec![curve(0.002)?, curve(0.02)?, curve(0.095)?, curve(0.105)?];
    Ok(Figure::log_curves(Section::Run, "Learning rates", ("step", "height"), curves))
}
