//! How Candle's backward works, and its randomness.

use std::process::Command;
use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, Var};
use glassbox_core::testkit::values;
use glassbox_core::{Gradients, Init, ParamStore, Pass, Seed, TensorExt};
use glassbox_kernels::conv;

use super::{CPU, FIXED, NORMAL};

#[test]
fn constants_get_gradients_and_the_store_holds_the_graph() {
    let params = ParamStore::new(Seed(1), CPU);
    let root = params.root();
    let [a, b] = ["a", "b"].map(|name| root.param(name, (1, 1, 3, 3), NORMAL).unwrap());
    let image = Tensor::ones((1, 1, 3, 3), a.dtype(), CPU).unwrap();
    let theirs = image.conv2d(a.var(), 0, 1, 1, 1).unwrap().backward().unwrap();
    assert!(theirs.get(&image).is_some(), "a constant's gradient is computed: {FIXED}");
    let ours = conv::conv2d(&image, a.var(), None, &Default::default()).unwrap().backward().unwrap();
    assert!(ours.get(&image).is_none());

    let product = (a.var().as_tensor() * b.var().as_tensor()).unwrap().sum_all().unwrap();
    assert!(product.backward().unwrap().get(a.var()).unwrap().track_op(), "gradients have a graph: {FIXED}");
    assert!(!Gradients::of(&product, &params).unwrap().get("a").unwrap().track_op());
    assert!(a.get(&Pass::train(Seed(1))).track_op() && !a.get(&Pass::eval()).track_op());
}

/// Hands its input on, and keeps what its backward is given.
struct Seen(Arc<Mutex<Option<Tensor>>>);

impl CustomOp1 for Seen {
    fn name(&self) -> &'static str {
        "seen"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((storage.clone(), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        *self.0.lock().unwrap() = Some(grad.clone());
        Ok(Some(grad.clone()))
    }
}

#[test]
fn a_custom_backward_gets_a_detached_contiguous_gradient() {
    let x = Var::from_tensor(&values((3, 4), 1).unwrap()).unwrap();
    let after: [fn(&Tensor) -> Result<Tensor>; 4] =
        [|y| y.t(), |y| y.sum_keepdim(0), |y| y.t()?.narrow(0, 1, 2), |y| y.broadcast_as((2, 3, 4))];
    for function in after {
        let seen = Arc::new(Mutex::new(None));
        let y = function(&x.apply_op1(Seen(seen.clone())).unwrap()).unwrap();
        (&y * &y).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = seen.lock().unwrap().take().unwrap();
        assert!(!gradient.track_op() && gradient.is_contiguous());
    }
}

#[test]
fn a_deep_graph_overflows_the_stack() {
    for (what, nodes, overflows) in [("backward", 10, false), ("backward", 30_000, true), ("drop", 100_000, true)] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "graph::deep_graph", "--ignored", "--nocapture"])
            .env("DEEP_GRAPH", format!("{what} {nodes}"));
        let output = child.output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(message.contains("overflowed its stack"), overflows, "{what} of {nodes}: {FIXED}. {message}");
        assert_eq!(output.status.success(), !overflows, "{message}");
    }
}

#[test]
#[ignore = "run by a_deep_graph_overflows_the_stack, in a process of its own"]
fn deep_graph() {
    let Ok(task) = std::env::var("DEEP_GRAPH") else { return };
    let (what, nodes) = task.split_once(' ').unwrap();
    let (backward, nodes) = (what == "backward", nodes.parse::<usize>().unwrap());
    let chain = move || {
        let x = Var::from_slice(&[1f32], 1, CPU).unwrap();
        let y = (0..nodes).fold(x.as_tensor().clone(), |y, _| y.affine(1.0, 1.0).unwrap());
        if backward {
            y.backward().unwrap();
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(chain).unwrap().join().unwrap();
}

#[test]
fn randomness_and_order() {
    assert!(CPU.set_seed(1).is_err(), "Candle's CPU generator has a seed: {FIXED}");
    let drawn = || Seed(1).rng().normal_tensor(8, 0.0, 1.0, DType::F64, CPU).unwrap().to_f64_vec().unwrap();
    assert_eq!(drawn(), drawn());

    // 64 variables of sizes 1 to 64: that two hash maps walk them alike has a chance of 1 in 64!.
    let theirs = || {
        let vars = candle_nn::VarMap::new();
        let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, CPU);
        (1..=64).for_each(|n| drop(vb.get(n, &n.to_string()).unwrap()));
        vars.all_vars().iter().map(|v| v.elem_count()).collect::<Vec<_>>()
    };
    assert_ne!(theirs(), theirs(), "VarMap has an order: {FIXED}");
    let params = ParamStore::new(Seed(1), CPU);
    (1..=64).for_each(|n| drop(params.root().param(&n.to_string(), n, Init::Zeros).unwrap()));
    assert!(params.all().iter().map(|p| p.elem_count()).eq(1..=64));
}
