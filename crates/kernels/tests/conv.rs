//! Convolution, pooling, batch normalisation and resampling next to PyTorch: outputs and gradients, in f64.

// A test reports by panicking; clippy recognises only the test functions themselves.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor, Var};
use glassbox_kernels::conv::*;
use glassbox_kernels::norm::{batch_norm_eval, batch_norm_train};
use glassbox_kernels::pool::*;
use glassbox_kernels::upsample::{upsample_bilinear2d, upsample_nearest2d};

/// Both sides compute in f64, in different orders.
const CLOSE: f64 = 1e-11;

/// The file that tools/fixtures/kernels_conv.py makes; its metadata names the version of PyTorch.
struct Fixtures(HashMap<String, Tensor>);

impl Fixtures {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/conv.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    /// Checks `function` against case `name`: the output, and the gradient of every input.
    fn check(&self, name: &str, function: impl Fn(&[Tensor]) -> Result<Tensor>) {
        let get = |key: String| self.0.get(&format!("{name}.{key}"));
        let vars: Vec<Var> =
            (0..).map_while(|i| get(format!("in.{i}"))).map(|t| Var::from_tensor(t).unwrap()).collect();
        assert!(!vars.is_empty(), "no case {name}");
        let inputs: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let out = function(&inputs).unwrap();
        assert_close(name, "output", &out, get("out".into()).unwrap());
        let grads = (&out * get("seed".into()).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
        for (i, input) in inputs.iter().enumerate() {
            let expected = get(format!("grad.{i}")).unwrap();
            assert_close(name, &format!("gradient {i}"), grads.get(input).unwrap(), expected);
        }
    }
}

fn assert_close(name: &str, what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.dims(), expected.dims(), "{name}: shape of {what}");
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for (i, (got, expected)) in flat(got).iter().zip(flat(expected)).enumerate() {
        let close = (got - expected).abs() <= CLOSE * (1.0 + expected.abs());
        assert!(close, "{name}: {what} at element {i}: expected {expected}, got {got}");
    }
}

#[test]
fn convolution_agrees_with_pytorch() {
    let fixtures = Fixtures::load();
    let base = Conv2dParams::default();
    let params = Conv2dParams { stride: [2, 2], padding: symmetric_padding([1, 1]), ..base };
    fixtures.check("conv2d_stride", |t| conv2d(&t[0], &t[1], Some(&t[2]), &params));
    let depthwise = Conv2dParams { groups: 3, ..params };
    fixtures.check("conv2d_depthwise", |t| conv2d(&t[0], &t[1], None, &depthwise));
    let params = Conv2dParams { stride: [1, 2], padding: symmetric_padding([2, 1]), dilation: [2, 1], groups: 2 };
    fixtures.check("conv2d_anisotropic", |t| conv2d(&t[0], &t[1], Some(&t[2]), &params));
    let params = Conv2dParams { padding: [same_padding(2, 1), same_padding(4, 3)], dilation: [1, 3], ..base };
    fixtures.check("conv2d_same", |t| conv2d(&t[0], &t[1], None, &params));
    let params = Conv1dParams { stride: 2, padding: [2, 2], dilation: 2, groups: 1 };
    fixtures.check("conv1d", |t| conv1d(&t[0], &t[1], Some(&t[2]), &params));
}

#[test]
fn convolution_of_volumes_agrees_with_pytorch() {
    let fixtures = Fixtures::load();
    let padding = |p: [usize; 3]| p.map(|p| [p, p]);
    let params = Conv3dParams { stride: [2, 1, 2], padding: padding([1, 2, 0]), dilation: [1, 2, 1], groups: 2 };
    fixtures.check("conv3d", |t| conv3d(&t[0], &t[1], Some(&t[2]), &params));
    let params = Conv3dParams { padding: padding([1; 3]), groups: 3, ..Default::default() };
    fixtures.check("conv3d_depthwise", |t| conv3d(&t[0], &t[1], None, &params));
    let params = Conv3dParams { stride: [2, 1, 1], padding: padding([1, 0, 0]), ..Default::default() };
    fixtures.check("conv3d_columns", |t| conv3d(&t[0], &t[1], Some(&t[2]), &params));
    let params = ConvTranspose3dParams {
        stride: [2, 3, 1],
        padding: [1, 0, 1],
        output_padding: [1, 2, 0],
        dilation: [2, 1, 1],
        groups: 2,
    };
    fixtures.check("conv_transpose3d", |t| conv_transpose3d(&t[0], &t[1], Some(&t[2]), &params));
}

#[test]
fn pooling_of_volumes_agrees_with_pytorch() {
    let fixtures = Fixtures::load();
    let params = Pool3dParams { kernel: [2, 3, 2], stride: [1, 2, 2], padding: [1, 1, 0], ceil_mode: true };
    fixtures.check("max_pool3d", |t| max_pool3d(&t[0], &params));
    let params = Pool3dParams { kernel: [3; 3], stride: [2; 3], padding: [1; 3], ceil_mode: true };
    fixtures.check("avg_pool3d", |t| avg_pool3d(&t[0], &params, true));
    let params = Pool3dParams { kernel: [2, 3, 3], ceil_mode: false, ..params };
    fixtures.check("avg_pool3d_exclude", |t| avg_pool3d(&t[0], &params, false));
    fixtures.check("adaptive_avg_pool3d", |t| adaptive_avg_pool3d(&t[0], [2, 3, 1]));
}

#[test]
fn transposed_convolution_agrees_with_pytorch() {
    let fixtures = Fixtures::load();
    let params = ConvTranspose2dParams {
        stride: [2, 3],
        padding: [1, 0],
        output_padding: [1, 2],
        groups: 2,
        ..Default::default()
    };
    let sequence = ConvTranspose1dParams { stride: 3, padding: 1, output_padding: 2, dilation: 2, groups: 2 };
    fixtures.check("conv_transpose1d", |t| conv_transpose1d(&t[0], &t[1], Some(&t[2]), &sequence));
    fixtures.check("conv_transpose2d", |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), &params));
    let params =
        ConvTranspose2dParams { stride: [2; 2], padding: [1; 2], output_padding: [1; 2], dilation: [2; 2], groups: 1 };
    fixtures.check("conv_transpose2d_dilated", |t| conv_transpose2d(&t[0], &t[1], None, &params));
}

#[test]
fn pooling_agrees_with_pytorch() {
    let fixtures = Fixtures::load();
    let params = Pool2dParams { kernel: [3, 3], stride: [2, 2], padding: [1, 1], ceil_mode: false };
    fixtures.check("max_pool2d", |t| max_pool2d(&t[0], &params));
    fixtures.check("avg_pool2d_exclude", |t| avg_pool2d(&t[0], &params, false));
    let ceil = Pool2dParams { ceil_mode: true, ..params };
    fixtures.check("avg_pool2d", |t| avg_pool2d(&t[0], &ceil, true));
    let ceil = Pool2dParams { kernel: [2, 3], stride: [3, 2], padding: [1, 1], ceil_mode: true };
    fixtures.check("max_pool2d_ceil", |t| max_pool2d(&t[0], &ceil));
    fixtures.check("adaptive_avg_pool2d", |t| adaptive_avg_pool2d(&t[0], [3, 4]));
}

#[test]
fn resampling_agrees_with_pytorch() {
    let fixtures = Fixtures::load();
    fixtures.check("nearest", |t| upsample_nearest2d(&t[0], 7, 4));
    fixtures.check("bilinear", |t| upsample_bilinear2d(&t[0], 7, 3, false));
    fixtures.check("bilinear_corners", |t| upsample_bilinear2d(&t[0], 7, 3, true));
}

#[test]
fn batch_normalisation_agrees_with_pytorch() {
    let fixtures = Fixtures::load();
    fixtures.check("batch_norm", |t| Ok(batch_norm_train(&t[0], Some(&t[1]), Some(&t[2]), 1e-5)?.0));
    let mean = Tensor::new(&[0.5f64, -1.0], &Device::Cpu).unwrap();
    let var = Tensor::new(&[2.0f64, 0.25], &Device::Cpu).unwrap();
    fixtures.check("batch_norm_eval", |t| batch_norm_eval(&t[0], &mean, &var, Some(&t[1]), Some(&t[2]), 1e-3));
}
