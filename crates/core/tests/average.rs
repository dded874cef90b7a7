//! The mean of checkpoints.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::path::{Path, PathBuf};

use glassbox_core::candle_core::{DType, Device};
use glassbox_core::train::average_checkpoints;
use glassbox_core::train::checkpoint::{self, Keep};
use glassbox_core::{Init, ParamStore, Seed, State};

fn store(value: f64, dtype: DType, size: usize) -> ParamStore {
    let params = ParamStore::with_dtype(Seed(1), dtype, &Device::Cpu);
    params.root().param("weight", size, Init::Constant(value)).unwrap();
    params.root().buffer_of("steps", (), Init::Constant(value), DType::I64).unwrap();
    params
}

fn write(folder: &Path, step: u64, params: &ParamStore) {
    let keep = Keep { last: 9, is_best: false };
    checkpoint::write(folder, step, &[("model", params.clone())], &State::default(), keep).unwrap();
}

fn values(params: &ParamStore) -> (f64, i64) {
    let weight = params.get("weight").unwrap().value().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    (weight[0], params.get("steps").unwrap().value().to_scalar().unwrap())
}

#[test]
fn the_mean_of_the_last_ones() {
    // 1.0078125 is the number after 1 in bf16: a mean that rounded in between would lose it.
    for (dtype, value) in [(DType::F32, 3.0), (DType::F64, 3.0), (DType::BF16, 1.0078125)] {
        let folder = tempfile::tempdir().unwrap();
        for (step, value) in [(1, 100.0), (2, 1.0), (3, value), (4, 2.0 * value - 1.0)] {
            write(folder.path(), step, &store(value, dtype, 2));
        }
        let files = checkpoint::list(folder.path()).unwrap();
        let params = store(0.0, dtype, 2);
        average_checkpoints(&files[1..], &[("model", params.clone())]).unwrap();
        let last = (2.0 * value - 1.0) as i64;
        assert_eq!(values(&params), (value, last), "{dtype:?}");
        average_checkpoints(&files[..1], &[("model", params.clone())]).unwrap();
        assert_eq!(values(&params), (100.0, 100));
    }
}

#[test]
fn what_cannot_be_averaged_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1, &store(1.0, DType::F32, 2));
    write(folder.path(), 2, &store(2.0, DType::F32, 3));
    let files = checkpoint::list(folder.path()).unwrap();
    let params = store(7.0, DType::F32, 3);
    let error = |files: &[PathBuf]| average_checkpoints(files, &[("model", params.clone())]).unwrap_err().to_string();
    assert_eq!(error(&[]), "checkpoints to average: expected at least one, got none");
    assert!(error(&files).contains("step-000000001.safetensors: not of the same model as"), "{}", error(&files));
    assert!(error(&[folder.path().join("none.safetensors")]).contains("none.safetensors"));
    assert!(error(&files[..1]).contains("weight is [2], expected [3]"), "{}", error(&files[..1]));
    let mut bytes = std::fs::read(&files[1]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&files[1], bytes).unwrap();
    assert!(error(&files[1..]).contains("checksum"));
    assert_eq!(values(&params), (7.0, 7));
}
