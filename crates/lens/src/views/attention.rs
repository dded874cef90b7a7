//! What attention attends to, over plain tensors: any model that gives its weights or its queries and keys will do.
//!
//! Weights of one layer say little about what an output depends on (Jain and Wallace 2019, arXiv 1902.10186); [`rollout`]
//! follows them through all layers.

use candle_core::{D, DType, Device, Tensor};
use glassbox_core::{Error, Result, TensorExt};

use crate::report::{BarChart, Figure, Gallery, HeatMap, Palette, Picture, Section, table};
use crate::rules::{Finding, number};

/// The weights that queries give to keys: softmax(q kᵀ / √head_dim), later keys left out where `causal`.
///
/// # Shapes
/// `queries` (…, num_queries, head_dim), `keys` (…, num_keys, head_dim); the result (…, num_queries, num_keys).
///
/// # Errors
/// Shapes that do not fit.
pub fn weights(queries: &Tensor, keys: &Tensor, causal: bool) -> Result<Tensor> {
    let scale = 1.0 / (queries.dim(D::Minus1)? as f64).sqrt();
    let scores = (queries.contiguous()?.matmul(&keys.transpose(D::Minus2, D::Minus1)?.contiguous()?)? * scale)?;
    if !causal {
        return scores.softmax(D::Minus1);
    }
    let (rows, columns) = (scores.dim(D::Minus2)?, scores.dim(D::Minus1)?);
    // The last query sees every key.
    let seen = |row: usize, column: usize| column + rows <= row + columns;
    let mask = (0..rows).flat_map(|r| (0..columns).map(move |c| if seen(r, c) { 0f32 } else { f32::NEG_INFINITY }));
    let mask = Tensor::from_vec(mask.collect::<Vec<f32>>(), (rows, columns), &Device::Cpu)?;
    let mask = mask.to_device(scores.device())?.to_dtype(scores.dtype())?;
    scores.broadcast_add(&mask)?.softmax(D::Minus1)
}

/// The entropy of each head's rows in nats, averaged over queries: 0 for one key alone, ln(num_keys) for all alike.
///
/// # Shapes
/// `weights` (num_heads, num_queries, num_keys); the result has a number for each head.
///
/// # Errors
/// Another shape.
pub fn entropy(weights: &Tensor) -> Result<Vec<f64>> {
    let (heads, queries, keys) = weights.dims3()?;
    let values = weights.to_f64_vec()?;
    let row = |row: &[f64]| -row.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
    let head = |head: &[f64]| head.chunks(keys.max(1)).map(row).sum::<f64>() / queries.max(1) as f64;
    Ok(values.chunks((queries * keys).max(1)).take(heads).map(head).collect())
}

/// Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928): how much each position of the last layer comes from each
/// position of the input: the product over layers of A' = (mean over heads + I) / 2, the rows of which sum to 1.
///
/// # Shapes
/// Each of `layers` (num_heads, seq_len, seq_len), the first layer first; the result (seq_len, seq_len).
///
/// # Errors
/// No layers, or other shapes.
pub fn rollout(layers: &[Tensor]) -> Result<Tensor> {
    let mut product: Option<Tensor> = None;
    for layer in layers {
        let (_, rows, columns) = layer.dims3()?;
        if rows != columns {
            return Err(Error::invalid(
                "attention weights",
                "(num_heads, seq_len, seq_len)",
                format!("{:?}", layer.dims()),
            ));
        }
        let mean = layer.to_dtype(DType::F64)?.mean(0)?;
        let mixed = ((mean + Tensor::eye(rows, DType::F64, layer.device())?)? * 0.5)?;
        let mixed = mixed.broadcast_div(&mixed.sum_keepdim(1)?)?;
        product = Some(match product {
            Some(before) => mixed.matmul(&before)?,
            None => mixed,
        });
    }
    product.ok_or_else(|| Error::invalid("attention rollout", "at least one layer", "none"))
}

/// The logit lens (nostalgebraist 2020): what `head`, the model's last norm and projection, reads from the hidden state after
/// each layer. The last entry is the model's own logits.
///
/// # Shapes
/// Each of `hidden` (seq_len, d_model); each result (seq_len, vocabulary).
///
/// # Errors
/// Those of `head`.
pub fn logit_lens(hidden: &[Tensor], head: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    hidden.iter().map(head).collect()
}

/// The likeliest token at each position and its probability.
///
/// # Shapes
/// `logits` (seq_len, vocabulary).
///
/// # Errors
/// Another shape.
pub fn likeliest(logits: &Tensor) -> Result<Vec<(usize, f64)>> {
    let (_, vocabulary) = logits.dims2()?;
    let probabilities = logits.softmax(D::Minus1)?.to_f64_vec()?;
    let best = |row: &[f64]| row.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
    Ok(probabilities.chunks(vocabulary.max(1)).map(best).collect())
}

/// −ln of the probability of each target: the loss of each token by itself, in nats.
///
/// # Shapes
/// `logits` (seq_len, vocabulary), `targets` as many ids.
///
/// # Errors
/// Other shapes; a target outside the vocabulary.
pub fn token_losses(logits: &Tensor, targets: &[usize]) -> Result<Vec<f64>> {
    let (positions, vocabulary) = logits.dims2()?;
    if positions != targets.len() {
        return Err(Error::invalid("targets", format!("{positions} ids"), targets.len()));
    }
    let rows = logits.log_softmax(D::Minus1)?.to_f64_vec()?;
    let loss = |(row, &target): (&[f64], &usize)| {
        row.get(target).map(|p| -p).ok_or_else(|| Error::invalid("target", format!("below {vocabulary}"), target))
    };
    rows.chunks(vocabulary.max(1)).zip(targets).map(loss).collect()
}

/// Mean entropy in nats below which a head counts as collapsed.
const COLLAPSED: f64 = 0.05;

/// Heads whose rows all but ignore every key but one: with a loss that is unstable, attention collapse (Zhai et al. 2023, arXiv
/// 2303.06296). A head that copies from a fixed place is healthy and looks the same, so this is only worth a look.
///
/// # Errors
/// Another shape than (num_heads, num_queries, num_keys).
pub fn collapse(layer: &str, step: u64, weights: &Tensor) -> Result<Option<Finding>> {
    let entropies = entropy(weights)?;
    let collapsed = entropies.iter().filter(|&&e| e < COLLAPSED).count();
    // A sequence of two or three has hardly any entropy to lose.
    if collapsed * 2 <= entropies.len() || weights.dim(D::Minus1)? < 4 {
        return Ok(None);
    }
    let lowest = entropies.iter().copied().fold(f64::INFINITY, f64::min);
    let evidence = format!("{collapsed} of the {} heads of `{layer}` attend to one key alone", entropies.len());
    let finding = Finding::new("attention_collapse", step, evidence, lowest)
        .in_layer(layer)
        .beyond(format!("more than half of the heads with an entropy below {COLLAPSED} nats"), "Zhai et al. 2023")
        .advise("Normalise queries and keys, a smaller learning rate, or a longer warm-up.")
        .certainty(crate::rules::Certainty::Possible);
    Ok(Some(finding))
}

/// Heads that are drawn at most.
const HEADS: usize = 16;

/// A figure of the maps of `layer`: (num_heads, num_queries, num_keys).
///
/// # Errors
/// Another shape.
pub fn maps(layer: &str, weights: &Tensor) -> Result<Figure> {
    let (heads, queries, keys) = weights.dims3()?;
    let entropies = entropy(weights)?;
    let values: Vec<f32> = weights.to_f64_vec()?.into_iter().map(|x| x as f32).collect();
    let head = |(i, map): (usize, &[f32])| Picture {
        caption: format!("{i}: {} nats", number((entropies[i] * 100.0).round() / 100.0)),
        dims: [1, queries, keys],
        values: map.to_vec(),
    };
    let pictures: Vec<Picture> =
        values.chunks((queries * keys).max(1)).take(heads.min(HEADS)).enumerate().map(head).collect();
    let gallery = Gallery {
        label: format!("Attention of {} heads of {layer}, queries down, keys across", pictures.len()),
        pictures,
        columns: 4,
        palette: Palette::Viridis,
        range: Some((0.0, 1.0)),
        headings: vec![],
    };
    let figure = Figure::new(Section::Learned, format!("Attention of {layer}"), gallery.svg())
        .what("For each head, how much each position (down) takes from each other (across), and the mean entropy of its rows.")
        .healthy("Heads differ: some look at neighbours, some at one place, some widely. All alike: heads to spare.")
        .formula("softmax(q kᵀ / √head_dim); H = −Σ p ln p")
        .source("Vaswani et al. 2017; raw attention is a poor explanation (Jain and Wallace 2019)");
    Ok(figure)
}

/// A figure of [`rollout`]; `tokens` are the names of the positions.
///
/// # Errors
/// As `rollout`.
pub fn rollout_figure(layers: &[Tensor], tokens: &[String]) -> Result<Figure> {
    let map = rollout(layers)?;
    let (rows, columns) = map.dims2()?;
    let values = map.to_f64_vec()?.into_iter().map(|x| x as f32).collect();
    let heat = HeatMap {
        label: format!("Attention rollout over {} layers", layers.len()),
        rows: (0..rows).map(|i| tokens.get(i).cloned().unwrap_or_else(|| i.to_string())).collect(),
        values,
        x: (0.0, columns.saturating_sub(1) as f64, "position of the input".into()),
        unit: "share".into(),
        range: None,
        palette: Palette::Viridis,
        log: false,
    };
    let figure = Figure::new(Section::Learned, "Attention through all layers", heat.svg())
        .what("How much of each position at the end (down) comes from each position of the input (across).")
        .healthy("Structure that follows the task. A single bright column: everything is taken from one position.")
        .formula("Π over layers of (mean over heads + I) / 2")
        .source("Abnar and Zuidema 2020");
    Ok(figure)
}

/// A figure of the entropy of the heads of each layer.
///
/// # Errors
/// Other shapes than (num_heads, num_queries, num_keys).
pub fn entropies(layers: &[(String, Tensor)]) -> Result<Figure> {
    let mut bars = vec![];
    for (name, weights) in layers {
        let heads = entropy(weights)?;
        bars.extend(heads.into_iter().enumerate().map(|(head, entropy)| (format!("{name} {head}"), entropy)));
    }
    let keys = layers.iter().filter_map(|(_, weights)| weights.dim(D::Minus1).ok()).max().unwrap_or(1);
    let most = (keys as f64).ln();
    let label = format!("Entropy of the attention of {} heads", bars.len());
    let chart = BarChart { label, bars, mark: Some((most, format!("ln {keys}"))), unit: "nats".into() };
    let figure = Figure::new(Section::Learned, "Entropy of the heads", chart.svg())
        .what("How widely each head looks, on average over positions.")
        .healthy("A mixture. All near 0 while the loss is unstable: attention has collapsed. All near the line: it looks at nothing.")
        .formula("H = −Σ p ln p")
        .source("Zhai et al. 2023");
    Ok(figure)
}

/// A figure of what a model would say after each layer: `tokens` are the names of ids.
///
/// # Errors
/// Other shapes than those of [`logit_lens`]'s results.
pub fn logit_lens_figure(logits: &[Tensor], name_of: impl Fn(usize) -> String) -> Result<Figure> {
    let columns = logits.iter().map(likeliest).collect::<Result<Vec<_>>>()?;
    let positions = columns.first().map_or(0, Vec::len).min(24);
    let row = |(layer, best): (usize, &Vec<(usize, f64)>)| {
        let cells = best.iter().take(positions).map(|&(id, p)| format!("{} {:.2}", name_of(id), p));
        std::iter::once(format!("{}", layer + 1)).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = columns.iter().enumerate().map(row).collect();
    let head: Vec<String> = std::iter::once("Layer".to_string()).chain((0..positions).map(|i| i.to_string())).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let figure = Figure::new(Section::Learned, "What it would say after each layer", table("Logit lens", &head, &rows))
        .what("The likeliest next token and its probability if the model ended after each layer, by position.")
        .healthy("Later layers grow surer, and the last row is what the model says.")
        .source("nostalgebraist 2020, interpreting GPT: the logit lens")
        .wide();
    Ok(figure)
}
