//! What metrics of classes read from a batch: shapes, true classes, predicted classes.

use candle_core::{D, DType, Tensor};

use crate::{Error, Result, TensorExt};

/// The true and the predicted class of each sample of a batch.
pub(super) struct ClassBatch {
    /// (true, predicted), both below `num_classes`.
    pub pairs: Vec<(usize, usize)>,
    pub num_classes: usize,
}

impl ClassBatch {
    /// Outputs (…, num_classes) predict the class of the highest score, the first where several are highest. Outputs
    /// (batch) or (…, 1) are logits of class 1 against class 0 and predict 1 above 0. Targets equal to `ignore_index` are
    /// left out.
    pub fn read(outputs: &Tensor, targets: &Tensor, ignore_index: Option<i64>) -> Result<Self> {
        let (samples, num_scores) = scores_shape(outputs)?;
        let num_classes = num_scores.max(2);
        let targets = read_targets(samples, targets, num_classes, ignore_index)?;
        let predicted = predicted_classes(outputs, num_scores)?;
        let pairs = targets.into_iter().zip(predicted).filter_map(|(t, p)| Some((t?, p as usize))).collect();
        Ok(Self { pairs, num_classes })
    }
}

fn predicted_classes(outputs: &Tensor, num_scores: usize) -> Result<Vec<u32>> {
    if outputs.elem_count() == 0 {
        return Ok(vec![]);
    }
    // On the outputs' device, so that only the classes travel.
    let classes = match num_scores {
        1 => outputs.gt(0f64)?.to_dtype(DType::U32)?,
        _ => outputs.contiguous()?.argmax(D::Minus1)?,
    };
    Ok(classes.flatten_all()?.to_vec1()?)
}

/// The shape of the samples and the number of scores of each: 1 where the scores are binary, (batch) or (…, 1).
pub(super) fn scores_shape(outputs: &Tensor) -> Result<(&[usize], usize)> {
    match outputs.dims() {
        [] | [.., 0] => {
            let expected = "shape (batch, …, num_classes), or (batch) of binary scores";
            Err(Error::invalid("outputs", expected, format!("{:?}", outputs.dims())))
        }
        samples @ [_] => Ok((samples, 1)),
        [samples @ .., num_scores] => Ok((samples, *num_scores)),
    }
}

/// As [`scores_shape`], where binary scores won't do.
pub(super) fn several_scores_shape(outputs: &Tensor) -> Result<(&[usize], usize)> {
    match scores_shape(outputs)? {
        (_, 1) => {
            let expected = "shape (batch, …, num_classes) with two classes or more";
            Err(Error::invalid("outputs", expected, format!("{:?}", outputs.dims())))
        }
        shape => Ok(shape),
    }
}

/// The class of each sample, none where it is `ignore_index`. A last dimension of 1 more than `samples` is let pass.
pub(super) fn read_targets(
    samples: &[usize],
    targets: &Tensor,
    num_classes: usize,
    ignore_index: Option<i64>,
) -> Result<Vec<Option<usize>>> {
    expect_shape(samples, targets)?;
    let class = |(position, target): (usize, i64)| match usize::try_from(target) {
        _ if Some(target) == ignore_index => Ok(None),
        Ok(class) if class < num_classes => Ok(Some(class)),
        _ => {
            let what = format!("target {position} of the batch");
            Err(Error::invalid(what, format!("a class from 0 to {}", num_classes - 1), target))
        }
    };
    integers(targets)?.into_iter().enumerate().map(class).collect()
}

/// Fails unless the shape of `targets` is `samples`, with or without a last dimension of 1 more.
pub(super) fn expect_shape(samples: &[usize], targets: &Tensor) -> Result<()> {
    let dims = targets.dims();
    if dims == samples || dims.strip_suffix(&[1]) == Some(samples) {
        return Ok(());
    }
    Err(Error::invalid("targets", format!("shape {samples:?}, as the outputs'"), format!("{dims:?}")))
}

/// Whole numbers of an integer or a float tensor: losses on binary logits take their classes as floats.
fn integers(targets: &Tensor) -> Result<Vec<i64>> {
    if targets.dtype().is_int() {
        return Ok(targets.flatten_all()?.to_dtype(DType::I64)?.to_vec1()?);
    }
    let whole = |(position, value): (usize, f64)| {
        if value.fract() == 0.0 {
            return Ok(value as i64);
        }
        Err(Error::invalid(format!("target {position} of the batch"), "a class", value))
    };
    targets.to_f64_vec()?.into_iter().enumerate().map(whole).collect()
}
