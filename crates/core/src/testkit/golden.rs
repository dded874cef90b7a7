//! Values that PyTorch made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use safetensors::SafeTensors;

use super::{assert_ok, expect_close};
use crate::{Error, Gradients, Layer, Loss, ParamStore, Pass, Result, Seed, VarBuilder};

/// A fixture: a safetensors file of cases, each with inputs, outputs and gradients that PyTorch made.
///
/// The tensors of a case:
///
/// | name | |
/// |---|---|
/// | `CASE/input` | what goes in: of a layer, or the outputs that a loss is given |
/// | `CASE/target` | what a loss compares with |
/// | `CASE/output` | what comes out |
/// | `CASE/grad_output` | gradient of the output that backward starts from; ones where it is missing |
/// | `CASE/grad_input` | gradient of the input |
/// | `CASE/param.NAME` | every parameter and buffer before the forward, by PyTorch's name |
/// | `CASE/grad.NAME` | gradient of that parameter |
/// | `CASE/after.NAME` | value of that buffer after the forward |
///
/// The file's metadata holds the version of PyTorch under `torch`. Scripts that write such files are in `tools/fixtures`.
///
/// A value agrees where it lies within `tolerance` · (1 + |expected|); the tolerance is 1e-10 for f64 and 1e-5 for f32
/// unless [`tolerance`](Self::tolerance) says otherwise.
#[derive(Debug)]
pub struct Golden {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    torch: String,
    tolerance: Option<f64>,
}

impl Golden {
    /// Reads the fixture at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or does not say which PyTorch made it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let broken = |e: &dyn std::fmt::Display| Error::format(path.display(), format!("not a fixture: {e}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&e))?;
        let torch = header.metadata().as_ref().and_then(|m| m.get("torch").cloned());
        let torch = torch.ok_or_else(|| broken(&"no `torch` version in its metadata"))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| broken(&e))?;
        Ok(Self { path: path.into(), tensors: tensors.into_iter().collect(), torch, tolerance: None })
    }

    /// The same fixture, with another tolerance. Say why where you use it.
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance: Some(tolerance), ..self }
    }

    /// The version of PyTorch that made it.
    pub fn torch(&self) -> &str {
        &self.torch
    }

    /// The names of its cases, in order.
    pub fn cases(&self) -> Vec<&str> {
        let mut cases: Vec<&str> = self.tensors.keys().filter_map(|key| Some(key.rsplit_once('/')?.0)).collect();
        cases.dedup();
        cases
    }

    /// The tensor `CASE/NAME`.
    ///
    /// # Errors
    /// There is none; the message holds its name.
    pub fn tensor(&self, case: &str, name: &str) -> Result<&Tensor> {
        self.find(case, name).ok_or_else(|| Error::format(self.path.display(), format!("no tensor `{case}/{name}`")))
    }

    /// Checks an evaluating forward of the layer that `make` builds, and its gradients, against `case`.
    ///
    /// # Panics
    /// Where names, shapes or values differ, with what was expected and what came.
    #[track_caller]
    pub fn check_layer<L: Layer>(&self, case: &str, make: impl FnOnce(VarBuilder) -> Result<L>) {
        assert_ok(self.layer(case, &Pass::eval().with_gradients(), make));
    }

    /// [`check_layer`](Self::check_layer) under a pass of your choice, such as a training one.
    ///
    /// # Panics
    /// As `check_layer`.
    #[track_caller]
    pub fn check_layer_in<L: Layer>(&self, case: &str, pass: &Pass, make: impl FnOnce(VarBuilder) -> Result<L>) {
        assert_ok(self.layer(case, pass, make));
    }

    /// Checks `loss` of `CASE/input` and `CASE/target`, and the input's gradient, against `case`.
    ///
    /// # Panics
    /// As `check_layer`.
    #[track_caller]
    pub fn check_loss(&self, case: &str, loss: &dyn Loss) {
        assert_ok(self.function(case, &["input"], |t| loss.forward(&t[0], self.tensor(case, "target")?)));
    }

    /// Checks a function of the tensors `CASE/NAME`, and its gradients `CASE/grad_NAME`, against `case`.
    ///
    /// # Panics
    /// As `check_layer`.
    #[track_caller]
    pub fn check_function(&self, case: &str, names: &[&str], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
        assert_ok(self.function(case, names, function));
    }

    fn layer<L: Layer>(&self, case: &str, pass: &Pass, make: impl FnOnce(VarBuilder) -> Result<L>) -> Result<()> {
        let params = ParamStore::with_dtype(Seed(1), self.tensor(case, "output")?.dtype(), &Device::Cpu);
        let layer = make(params.root())?;
        params.load_tensors("the fixture", &self.part(case, "param."))?;
        let input = Var::from_tensor(self.tensor(case, "input")?)?;
        let output = layer.forward(input.as_tensor(), pass)?;
        self.close(case, "output", &output)?;
        let objective = self.objective(case, &output)?;
        if let Some(grad) = self.find(case, "grad_input") {
            let grads = objective.backward()?;
            let got = grads.get(input.as_tensor()).map_or_else(|| grad.zeros_like(), |g| Ok(g.clone()))?;
            self.close(case, "grad_input", &got)?;
        }
        self.param_gradients(case, &params, &objective)?;
        for name in self.part(case, "after.").keys() {
            let param = params.get(name).ok_or_else(|| Error::invalid(case, format!("a buffer `{name}`"), "none"))?;
            self.close(case, &format!("after.{name}"), &param.value())?;
        }
        Ok(())
    }

    fn param_gradients(&self, case: &str, params: &ParamStore, objective: &Tensor) -> Result<()> {
        let expected = self.part(case, "grad.");
        if expected.is_empty() {
            return Ok(());
        }
        let grads = Gradients::of(objective, params)?;
        for name in expected.keys() {
            let got = grads.get(name).ok_or_else(|| Error::NoGradient { names: vec![name.clone()] })?;
            self.close(case, &format!("grad.{name}"), got)?;
        }
        Ok(())
    }

    fn function(&self, case: &str, names: &[&str], function: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
        let vars = names.iter().map(|name| Ok(Var::from_tensor(self.tensor(case, name)?)?));
        let vars = vars.collect::<Result<Vec<Var>>>()?;
        let inputs: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let output = function(&inputs)?;
        self.close(case, "output", &output)?;
        let grads = self.objective(case, &output)?.backward()?;
        for (name, var) in names.iter().zip(&vars) {
            let grad = grads.get(var.as_tensor()).map_or_else(|| var.zeros_like(), |g| Ok(g.clone()))?;
            self.close(case, &format!("grad_{name}"), &grad)?;
        }
        Ok(())
    }

    /// A scalar whose backward starts at the output with the case's gradient of it.
    fn objective(&self, case: &str, output: &Tensor) -> Result<Tensor> {
        Ok(match self.find(case, "grad_output") {
            Some(grad) => (output * grad)?.sum_all()?,
            None => output.sum_all()?,
        })
    }

    fn close(&self, case: &str, name: &str, got: &Tensor) -> Result<()> {
        let want = self.tensor(case, name)?;
        let by_type = if want.dtype() == DType::F64 { 1e-10 } else { 1e-5 };
        expect_close(&format!("{case}/{name}"), got, want, self.tolerance.unwrap_or(by_type))
    }

    fn find(&self, case: &str, name: &str) -> Option<&Tensor> {
        self.tensors.get(&format!("{case}/{name}"))
    }

    /// The case's tensors whose names start with `prefix`, without it.
    fn part(&self, case: &str, prefix: &str) -> BTreeMap<String, Tensor> {
        let prefix = format!("{case}/{prefix}");
        let named =
            self.tensors.iter().filter_map(|(key, t)| Some((key.strip_prefix(&prefix)?.to_string(), t.clone())));
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_fixture_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let message = |name: &str| Golden::open(folder.path().join(name)).unwrap_err().to_string();
        assert!(message("none.safetensors").contains("none.safetensors"));
        std::fs::write(folder.path().join("cut.safetensors"), [7; 20]).unwrap();
        assert!(message("cut.safetensors").contains("cut.safetensors: not a fixture"));
        ParamStore::new(Seed(1), &Device::Cpu).save(folder.path().join("ours.safetensors")).unwrap();
        assert!(message("ours.safetensors").contains("no `torch` version in its metadata"));
    }
}
