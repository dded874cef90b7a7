//! Steps from given weights on a given batch, for another program to agree with.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use glassbox::prelude::*;
use glassbox_kernels::optim::global_norm;
use serde_json::json;

use crate::workloads::{Name, Size, Workload};

const STEPS: usize = 3;

/// Loads `file` into the workload `name`, takes three steps, and prints the losses and gradient norms, each before its
/// update.
///
/// Weights in f64 make it compute in f64. The first steps of AdamW go by the signs of the gradients, so that in f32 the
/// rounding of a gradient near 0 becomes a step to the other side: two programs that are both right, or one on different
/// numbers of threads, then agree on the first gradients and drift apart by a hundredth within three steps.
pub fn check(name: Name, size: Size, file: &Path) -> anyhow::Result<()> {
    let place = file.display().to_string();
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).with_context(|| place.clone())?;
    let (mut params, mut batch) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in tensors.into_iter().collect::<BTreeMap<_, _>>() {
        if let Some(name) = name.strip_prefix("param.") {
            params.insert(name.to_string(), tensor);
        } else if let Some(name) = name.strip_prefix("batch.") {
            batch.insert(name.to_string(), tensor);
        } else {
            bail!("{place}: expected names that begin with `param.` or `batch.`, got `{name}`");
        }
    }
    let in_f64 = params.values().any(|tensor| tensor.dtype() == DType::F64);
    let dtype = if in_f64 { DType::F64 } else { size.dtype };
    let mut workload = name.build(Size { dtype, ..size })?;
    load_params(&*workload, &place, params)?;
    workload.take_batch(&mut batch).with_context(|| place.clone())?;
    if !batch.is_empty() {
        bail!("{place}: not a part of the batch: {}", batch.into_keys().collect::<Vec<_>>().join(", "));
    }

    let (mut losses, mut norms) = (vec![], vec![]);
    for _ in 0..STEPS {
        for update in workload.step()? {
            losses.push(update.loss.to_f64()?);
            let gradients: Vec<Tensor> = update.gradients.iter().map(|(_, gradient)| gradient.clone()).collect();
            norms.push(global_norm(&gradients)?);
        }
    }
    println!("{}", json!({ "losses": losses, "gradient_norms": norms }));
    Ok(())
}

/// Each store takes the tensors under its prefix; all must find their place.
fn load_params(workload: &dyn Workload, place: &str, mut params: BTreeMap<String, Tensor>) -> anyhow::Result<()> {
    for (prefix, store) in workload.stores() {
        let (mine, others) = params.into_iter().partition(|(name, _)| name.starts_with(prefix));
        store.load_tensors(place, &mine)?;
        params = others;
    }
    if !params.is_empty() {
        bail!("{place}: no such parameters: {}", params.into_keys().collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
