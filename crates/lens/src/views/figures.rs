//! Figures of what a run shows without being asked: inputs, filters, feature maps, hidden states, worst answers.

use glassbox_core::{Kind, ParamStore, Result, TensorExt};

use super::Worst;
use crate::record::Shown;
use crate::report::{Figure, Gallery, HeatMap, Palette, Picture, Section};
use crate::rules::number;

/// Layers of which feature maps or filters are shown, at most.
const LAYERS: usize = 10;
/// Filters of a layer that are shown at most.
const FILTERS: usize = 32;

/// What the network was given in the last recorded step.
pub(crate) fn inputs(shown: &[Shown]) -> Option<Figure> {
    let pictures: Vec<Picture> =
        shown.iter().filter(|s| s.path.is_empty()).filter_map(|s| picture(s, String::new())).collect();
    if pictures.is_empty() {
        return None;
    }
    let gallery = Gallery {
        label: format!("The first {} pictures of a batch, as the first layer gets them", pictures.len()),
        pictures,
        columns: 4,
        palette: Palette::Grey,
        range: None,
        headings: vec![],
    };
    let figure = Figure::new(Section::Data, "Just before the first layer", gallery.svg())
        .what("The first samples of a batch exactly as the first layer gets them, after augmentation and scaling.")
        .healthy("You would know them yourself. Noise, black or shifted pictures mean that preparation went wrong.")
        .source("Karpathy 2019: visualize just before the net");
    Some(figure)
}

/// (channels, height, width), or (height, width), of one or three channels.
fn picture(shown: &Shown, caption: String) -> Option<Picture> {
    match shown.dims[..] {
        [channels @ (1 | 3), height, width] => {
            Some(Picture { caption, dims: [channels, height, width], values: shown.values.clone() })
        }
        _ => None,
    }
}

/// The filters of the first convolution of each store, and of others as far as there is room.
pub(crate) fn filters(stores: &[ParamStore]) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    for store in stores {
        let kernels = store.all().into_iter().filter(|p| p.kind() != Kind::Buffer && p.shape().rank() == 4);
        for (i, param) in kernels.filter(|p| p.shape().dims()[2] > 1).take(3).enumerate() {
            let [out, input, height, width] = param.shape().dims()[..] else { continue };
            let values: Vec<f32> = param.value().to_f64_vec()?.into_iter().map(|x| x as f32).collect();
            // Of the first layer all channels together where they are colours; of others the first input channel.
            let channels = if input == 3 && i == 0 { 3 } else { 1 };
            let size = height * width;
            let filter = |filter: &[f32]| Picture {
                caption: String::new(),
                dims: [channels, height, width],
                values: filter[..channels * size].to_vec(),
            };
            let pictures: Vec<Picture> = values.chunks(input * size).take(FILTERS).map(filter).collect();
            let bound: f64 = values.iter().fold(0f32, |bound, x| bound.max(x.abs())).into();
            let gallery = Gallery {
                label: format!("{} of the {out} filters of {}", pictures.len(), param.name()),
                pictures,
                columns: 8,
                palette: Palette::Diverging,
                range: Some((-bound, bound)),
                headings: vec![],
            };
            let part = if channels == input { "all channels" } else { "its first input channel" };
            let figure = Figure::new(Section::Learned, format!("Filters of {}", param.name()), gallery.svg())
                .what(format!("The kernels of this convolution, each over {part}; red is positive, blue negative."))
                .healthy("First layers learn edges and blobs. All noise after long training: too little learned, or too little decay.")
                .source("Krizhevsky et al. 2012");
            figures.push(figure);
        }
    }
    Ok(figures)
}

/// What each layer made of the first sample.
pub(crate) fn feature_maps(shown: &[Shown]) -> Vec<Figure> {
    let maps: Vec<&Shown> = shown.iter().filter(|s| !s.path.is_empty() && s.dims.len() == 3).collect();
    let every = maps.len().div_ceil(LAYERS).max(1);
    maps.into_iter().step_by(every).map(feature_map).collect()
}

fn feature_map(shown: &Shown) -> Figure {
    let [channels, height, width] = [shown.dims[0], shown.dims[1], shown.dims[2]];
    let channel =
        |values: &[f32]| Picture { caption: String::new(), dims: [1, height, width], values: values.to_vec() };
    let pictures: Vec<Picture> = shown.values.chunks((height * width).max(1)).take(channels).map(channel).collect();
    let gallery = Gallery {
        label: format!("{} channels that {} gives for one sample", pictures.len(), shown.path),
        pictures,
        columns: 8,
        palette: Palette::Viridis,
        range: None,
        headings: vec![],
    };
    Figure::new(Section::Learned, format!("What {} sees", shown.path), gallery.svg())
        .what(format!(
            "The first channels that this layer ({}) gives for one sample; each has its own scale.",
            shown.kind
        ))
        .healthy("Channels differ from each other. Ones of a single colour say nothing about this sample.")
        .source("Zeiler and Fergus 2014")
}

/// Hidden states over the steps of one sequence.
pub(crate) fn sequences(shown: &[Shown]) -> Vec<Figure> {
    shown.iter().filter(|s| s.dims.len() == 2).map(hidden_states).collect()
}

fn hidden_states(shown: &Shown) -> Figure {
    let (steps, features) = (shown.dims[0], shown.dims[1]);
    hidden_state_figure(&shown.path, &shown.kind, steps, features, &shown.values)
}

/// `values` (steps, features), row-major.
pub(crate) fn hidden_state_figure(path: &str, kind: &str, steps: usize, features: usize, values: &[f32]) -> Figure {
    let turned = (0..features).flat_map(|f| (0..steps).map(move |s| values[s * features + f])).collect();
    let map = HeatMap {
        label: format!("{features} hidden units of {path} over {steps} steps of one sequence"),
        rows: (0..features).map(|f| if f % 4 == 0 { format!("unit {f}") } else { String::new() }).collect(),
        values: turned,
        x: (0.0, steps.saturating_sub(1) as f64, "step of the sequence".into()),
        unit: "state".into(),
        range: Some((-1.0, 1.0)),
        palette: Palette::Diverging,
        log: false,
    };
    Figure::new(Section::Learned, format!("Hidden states of {path}"), map.svg())
        .what(format!("The first units of this layer ({kind}), step by step along one sequence."))
        .healthy(
            "Units that move with the input, some quickly, some slowly. All red or blue: saturated; all white: dead.",
        )
        .source("Karpathy et al. 2015, Visualizing and understanding recurrent networks")
}

/// The samples with the highest losses.
pub(crate) fn worst(worst: &[Worst]) -> Option<Figure> {
    if worst.is_empty() {
        return None;
    }
    let what = "The samples of the last validation with the highest losses: true class, the class that each was taken for, \
                and the probability that its own class was given.";
    let pictures: Vec<Picture> = worst.iter().filter_map(worst_picture).collect();
    let body = if pictures.len() == worst.len() {
        let label = format!("The {} worst answers of the last validation", worst.len());
        Gallery { label, pictures, columns: 3, palette: Palette::Grey, range: None, headings: vec![] }.svg()
    } else {
        let row = |w: &Worst| {
            vec![
                w.index.to_string(),
                w.target.to_string(),
                w.predicted.to_string(),
                number(w.probability),
                number(w.loss),
            ]
        };
        let rows: Vec<Vec<String>> = worst.iter().map(row).collect();
        crate::report::table("Worst answers", &["Sample", "True", "Taken for", "p(true)", "Loss"], &rows)
    };
    let figure = Figure::new(Section::Failures, "The worst answers", body).what(what).healthy(
        "Samples that you would hesitate at, too. Clear ones point to wrong labels or to something that it never saw.",
    );
    Some(figure)
}

fn worst_picture(worst: &Worst) -> Option<Picture> {
    let (dims, values) = worst.input.as_ref()?;
    let dims = match dims[..] {
        [channels @ (1 | 3), height, width] => [channels, height, width],
        [height, width] if height > 1 && width > 1 => [1, height, width],
        _ => return None,
    };
    let caption = format!("{} → {} (p {:.2})", worst.target, worst.predicted, worst.probability);
    Some(Picture { caption, dims, values: values.clone() })
}
