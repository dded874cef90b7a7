//! What in a picture a network looks at.
//!
//! All of these are gradients or differences of one output with respect to the input, and can mislead: an explanation that
//! looks the same for a network of random weights shows the picture, not the network. [`randomisation_check`] tells.
//! Guided backpropagation, which fails that check, is left out (Adebayo et al. 2018, arXiv 1810.03292).

use candle_core::{Device, Tensor, Var};
use glassbox_core::{Error, Layer, ParamStore, Pass, Result, Seed, TensorExt};
use glassbox_kernels::backward::backward;

use crate::preflight::Saved;
use crate::report::{Figure, Gallery, Palette, Picture, Section};
use crate::rules::number;
use crate::taps::Taps;

/// The output of `class` for each of `inputs` (batch, …), summed: a scalar with a gradient for each sample by itself.
fn output_of(model: &dyn Layer, inputs: &Tensor, class: usize, pass: &Pass) -> Result<Tensor> {
    let outputs = model.forward(inputs, pass)?;
    outputs.expect_rank(2, "(batch, classes)")?;
    if class >= outputs.dim(1)? {
        return Err(Error::invalid("class", format!("below {}", outputs.dim(1)?), class));
    }
    Ok(outputs.narrow(1, class, 1)?.sum_all()?)
}

fn expect_one(input: &Tensor) -> Result<()> {
    match input.dims() {
        [1, _, ..] => Ok(()),
        dims => Err(Error::invalid("input", "one sample (1, …)", format!("{dims:?}"))),
    }
}

/// The gradient of the output of `class` with respect to each of `inputs` (batch, …).
fn input_gradient(model: &dyn Layer, inputs: &Tensor, class: usize) -> Result<Tensor> {
    let var = Var::from_tensor(&inputs.contiguous()?)?;
    let output = output_of(model, var.as_tensor(), class, &Pass::eval().with_gradients())?;
    let gradient = backward(&output)?.get(var.as_tensor())?;
    Ok(gradient.map_or_else(|| inputs.zeros_like(), |gradient| Ok(gradient.detach()))?)
}

/// Saliency (Simonyan et al. 2014, arXiv 1312.6034): |∂ output of `class` / ∂ x|, the largest over channels.
///
/// # Shapes
/// `input` (1, channels, height, width); the result (height, width).
///
/// # Errors
/// An input that does not suit the model; no such class.
pub fn saliency(model: &dyn Layer, input: &Tensor, class: usize) -> Result<Tensor> {
    expect_one(input)?;
    input.expect_rank(4, "(1, channels, height, width)")?;
    Ok(input_gradient(model, input, class)?.squeeze(0)?.abs()?.max(0)?)
}

/// What [`integrated_gradients`] found.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// How much each input contributes; the shape of the input.
    pub values: Tensor,
    /// The output at the input less that at the baseline, which the contributions sum to.
    pub difference: f64,
    /// |Σ values − difference| / |difference|.
    pub completeness_error: f64,
    /// Points of the path that were looked at.
    pub points: usize,
}

/// Points in one forward.
const CHUNK: usize = 32;
/// Points of the path at first and at last.
const FIRST: usize = 64;
const LAST: usize = 2048;
/// The error above which more points are taken.
const COMPLETE: f64 = 0.01;

/// Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): (x − x₀) · ∫ ∂f(x₀ + α (x − x₀)) / ∂x dα, by the midpoint
/// rule. Points are doubled until the contributions sum to f(x) − f(x₀) within 1 %, up to 2048.
///
/// # Shapes
/// `input` and `baseline` (1, …), alike; the result's values too.
///
/// # Errors
/// An input that does not suit the model; no such class.
pub fn integrated_gradients(model: &dyn Layer, input: &Tensor, baseline: &Tensor, class: usize) -> Result<Attribution> {
    expect_one(input)?;
    let output = |xs: &Tensor| output_of(model, xs, class, &Pass::eval())?.to_f64();
    let difference = output(input)? - output(baseline)?;
    let path = (input - baseline)?;
    let mut points = FIRST;
    loop {
        let values = (mean_gradient(model, baseline, &path, class, points)? * &path)?;
        let sum: f64 = values.to_f64_vec()?.iter().sum();
        let completeness_error = (sum - difference).abs() / difference.abs().max(1e-12);
        if completeness_error <= COMPLETE || points >= LAST {
            return Ok(Attribution { values, difference, completeness_error, points });
        }
        points *= 2;
    }
}

/// The mean gradient at the middles of `points` equal parts of the path.
fn mean_gradient(model: &dyn Layer, baseline: &Tensor, path: &Tensor, class: usize, points: usize) -> Result<Tensor> {
    let mut sum = path.zeros_like()?;
    for start in (0..points).step_by(CHUNK) {
        let count = CHUNK.min(points - start);
        let at = |i: usize| (start + i) as f64 / points as f64 + 0.5 / points as f64;
        let inputs = (0..count).map(|i| Ok((baseline + (path * at(i))?)?)).collect::<Result<Vec<Tensor>>>()?;
        let gradients = input_gradient(model, &Tensor::cat(&inputs, 0)?, class)?;
        sum = (sum + gradients.sum_keepdim(0)?)?;
    }
    Ok((sum / points as f64)?)
}

/// Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) at the layer at `path`, which gives channels of pictures:
/// ReLU(Σ_k w_k A_k), w_k the mean over places of ∂ output / ∂ A_k.
///
/// # Shapes
/// `input` (1, channels, height, width); the result has the height and width of the layer's output.
///
/// # Errors
/// No such layer, one that gives no pictures, no such class.
pub fn grad_cam(model: &dyn Layer, input: &Tensor, class: usize, path: &str) -> Result<Tensor> {
    expect_one(input)?;
    let tapped = Taps::on(path).run(|pass| output_of(model, input, class, pass))?;
    let layer = tapped.get(path).and_then(|tapped| tapped.output().zip(tapped.gradient()));
    let Some((activation, gradient)) = layer else {
        return Err(Error::invalid("Grad-CAM", format!("a layer `{path}` that the output depends on"), "none"));
    };
    activation.expect_rank(4, "(1, channels, height, width)")?;
    let weights = gradient.mean_keepdim((2, 3))?;
    Ok(activation.broadcast_mul(&weights)?.sum(1)?.squeeze(0)?.relu()?)
}

/// Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901): how much the output of `class` falls when a square of side `size` is
/// replaced by `fill`, for squares `stride` apart.
///
/// # Shapes
/// `input` (1, channels, height, width); the result (rows of squares, columns of squares).
///
/// # Errors
/// A size or stride of 0, or a square larger than the picture.
pub fn occlusion(
    model: &dyn Layer,
    input: &Tensor,
    class: usize,
    size: usize,
    stride: usize,
    fill: f64,
) -> Result<Tensor> {
    expect_one(input)?;
    let (_, _, height, width) = input.dims4()?;
    if size == 0 || stride == 0 || size > height || size > width {
        let expected = format!("size and stride of 1 or more, at most {height} x {width}");
        return Err(Error::invalid("occlusion", expected, format!("size {size}, stride {stride}")));
    }
    let (rows, columns) = ((height - size) / stride + 1, (width - size) / stride + 1);
    let whole = output_of(model, input, class, &Pass::eval())?.to_f64()?;
    let places: Vec<(usize, usize)> = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).collect();
    let mut falls = Vec::with_capacity(places.len());
    for part in places.chunks(CHUNK) {
        let covered =
            part.iter().map(|&(r, c)| cover(input, r * stride, c * stride, size, fill)).collect::<Result<Vec<_>>>()?;
        let outputs = model.forward(&Tensor::cat(&covered, 0)?, &Pass::eval())?.narrow(1, class, 1)?;
        falls.extend(outputs.to_f64_vec()?.into_iter().map(|output| (whole - output) as f32));
    }
    Ok(Tensor::from_vec(falls, (rows, columns), &Device::Cpu)?)
}

/// `input` with a square of `fill`.
fn cover(input: &Tensor, top: usize, left: usize, size: usize, fill: f64) -> Result<Tensor> {
    let (_, _, height, width) = input.dims4()?;
    let inside = |y: usize, x: usize| (top..top + size).contains(&y) && (left..left + size).contains(&x);
    let mask: Vec<f32> = (0..height).flat_map(|y| (0..width).map(move |x| f32::from(u8::from(inside(y, x))))).collect();
    let mask = Tensor::from_vec(mask, (1, 1, height, width), &Device::Cpu)?;
    let mask = mask.to_device(input.device())?.to_dtype(input.dtype())?;
    let kept = input.broadcast_mul(&mask.affine(-1.0, 1.0)?)?;
    Ok(kept.broadcast_add(&(mask * fill)?)?)
}

/// How alike an explanation is for the trained network and for one whose parameters are shuffled: Spearman's rank
/// correlation of the two. Near 0 for an explanation that shows the network (Adebayo et al. 2018). The parameters are given
/// back as they were.
///
/// # Errors
/// Those of `explain`.
pub fn randomisation_check(params: &ParamStore, seed: Seed, explain: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let trained = explain()?.to_f64_vec()?;
    let saved = Saved::new(params)?;
    let shuffled = shuffle(params, seed).and_then(|()| explain()?.to_f64_vec());
    saved.restore(params)?;
    Ok(rank_correlation(&trained, &shuffled?))
}

fn shuffle(params: &ParamStore, seed: Seed) -> Result<()> {
    for param in params.trainable() {
        let values = param.value().to_f64_vec()?;
        let order = seed.child(param.name()).rng().permutation(values.len());
        let shuffled: Vec<f64> = order.into_iter().map(|i| values[i]).collect();
        param.set(&Tensor::from_vec(shuffled, param.shape().clone(), &Device::Cpu)?)?;
    }
    Ok(())
}

/// Spearman's rank correlation: Pearson's of the ranks, ties getting their mean rank. NaN where one side is constant.
pub fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let count = a.len().min(b.len()) as f64;
    let mean = (count + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count();
        let rank = start as f64 + (same as f64 + 1.0) / 2.0;
        order[start..start + same].iter().for_each(|&i| ranks[i] = rank);
        start += same;
    }
    ranks
}

/// What makes a map of what a class was read from.
type Maker<'a> = Box<dyn Fn() -> Result<Tensor> + 'a>;

/// Everything in this module for one picture, beside each other: the picture, saliency, integrated gradients against black,
/// Grad-CAM at the layer at `cam_at`, occlusion, and for each how alike it is for a shuffled network.
///
/// # Errors
/// An input that does not suit the model; no such layer or class.
pub fn explain(model: &dyn Layer, params: &ParamStore, input: &Tensor, class: usize, cam_at: &str) -> Result<Figure> {
    let (_, channels, height, width) = input.dims4()?;
    let size = (height.min(width) / 4).max(1);
    let summed = |map: &Tensor| -> Result<Tensor> { Ok(map.squeeze(0)?.abs()?.sum(0)?) };
    let black = input.zeros_like()?;
    let makers: [(&str, Maker<'_>); 4] = [
        ("saliency", Box::new(|| saliency(model, input, class))),
        ("integrated", Box::new(|| summed(&integrated_gradients(model, input, &black, class)?.values))),
        ("Grad-CAM", Box::new(|| grad_cam(model, input, class, cam_at))),
        ("occlusion", Box::new(|| occlusion(model, input, class, size, (size / 2).max(1), 0.0))),
    ];
    let shown = if channels == 3 { input.squeeze(0)? } else { input.squeeze(0)?.narrow(0, 0, 1)? };
    let mut pictures = vec![map_picture("input", &shown)?];
    for (name, make) in &makers {
        let alike = randomisation_check(params, Seed(0), make)?;
        let caption = if alike.is_nan() { (*name).to_string() } else { format!("{name} ({})", number(alike)) };
        pictures.push(map_picture(&caption, &make()?.unsqueeze(0)?)?);
    }
    let gallery = Gallery {
        label: format!("What speaks for class {class}: saliency, integrated gradients, Grad-CAM, occlusion"),
        pictures,
        columns: 3,
        palette: Palette::Viridis,
        range: None,
        headings: vec![],
    };
    let figure = Figure::new(Section::Learned, format!("What speaks for class {class}"), gallery.svg())
        .what(
            "Where in the picture the output of this class comes from, by four methods. In brackets the rank correlation with \
             the same for a network whose weights are shuffled.",
        )
        .healthy("The object lights up, by several methods; the numbers are near 0. Near 1, the map shows the picture, not the network.")
        .formula("|∂y/∂x|; (x − x₀) ∫ ∂y/∂x; ReLU(Σ w A); y − y(covered)")
        .source("Simonyan 2014; Sundararajan 2017; Selvaraju 2017; Zeiler 2014; Adebayo 2018");
    Ok(figure)
}

fn map_picture(caption: &str, map: &Tensor) -> Result<Picture> {
    let (channels, height, width) = map.dims3()?;
    let values = map.to_f64_vec()?.into_iter().map(|x| x as f32).collect();
    Ok(Picture { caption: caption.into(), dims: [channels, height, width], values })
}
