use candle_core::{DType, Device, Tensor};
use candle_nn::Module;

use crate::{Error, Init, Kind, Layer, Linear, ParamStore, Pass, Seed};

fn store() -> ParamStore {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    Linear::new(3, 2, params.root().pp("a")).unwrap();
    Linear::new(2, 4, params.root().pp("b").pp("c")).unwrap();
    params.root().buffer("b.mean", 4, Init::Zeros).unwrap();
    params
}

#[test]
fn parameters_keep_their_order_and_counts() {
    let params = store();
    assert_eq!(params.names(), ["a.weight", "a.bias", "b.c.weight", "b.c.bias", "b.mean"]);
    assert_eq!((params.num_params(), params.num_trainable()), (20, 20));
    assert_eq!(params.freeze("b.*"), 2);
    assert_eq!((params.num_params(), params.num_trainable()), (20, 8));
    assert_eq!(params.get("b.mean").unwrap().kind(), Kind::Buffer);
    assert_eq!(params.unfreeze("*.weight"), 2);
    assert_eq!(params.num_trainable(), 16);
}

#[test]
fn an_initial_value_depends_on_the_seed_and_the_name_alone() {
    let value = |seed, extra: bool| {
        let params = ParamStore::new(Seed(seed), &Device::Cpu);
        if extra {
            Linear::new(5, 5, params.root().pp("before")).unwrap();
        }
        Linear::new(3, 2, params.root().pp("a")).unwrap().weight().value().to_vec2::<f32>().unwrap()
    };
    assert_eq!(value(1, false), value(1, true));
    assert_ne!(value(1, false), value(2, false));
}

#[test]
fn a_second_request_is_the_same_parameter_and_another_shape_an_error() {
    let params = store();
    let again = params.root().pp("a").param("weight", (2, 3), Init::Zeros).unwrap();
    assert_eq!(again.var().id(), params.get("a.weight").unwrap().var().id());
    let error = params.root().pp("a").param("weight", (3, 3), Init::Zeros).unwrap_err().to_string();
    assert_eq!(error, "at `a`: parameter `a.weight`: expected shape [2, 3], as it was first made, got [3, 3]");
}

#[test]
fn frozen_parameters_get_no_gradient() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let layer = Linear::new(3, 2, params.root()).unwrap();
    params.freeze("weight");
    let xs = Tensor::ones((1, 3), DType::F32, &Device::Cpu).unwrap();
    let loss = layer.forward(&xs, &Pass::train(Seed(1))).unwrap().sum_all().unwrap();
    let grads = crate::Gradients::of(&loss, &params).unwrap();
    assert!(grads.get("weight").is_none() && grads.get("bias").is_some());
}

#[test]
fn save_and_load_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let (params, other) = (store(), ParamStore::new(Seed(9), &Device::Cpu));
    Linear::new(3, 2, other.root().pp("a")).unwrap();
    Linear::new(2, 4, other.root().pp("b").pp("c")).unwrap();
    other.root().buffer("b.mean", 4, Init::Ones).unwrap();
    params.save(&file).unwrap();
    assert!(other.load(&file).unwrap().fits());
    let second = folder.path().join("again.safetensors");
    other.save(&second).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&second).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "temporary files are gone");
}

#[test]
fn keys_that_do_not_fit_are_all_listed_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.safetensors");
    let other = ParamStore::new(Seed(9), &Device::Cpu);
    Linear::new(4, 2, other.root().pp("a")).unwrap();
    Linear::no_bias(2, 4, other.root().pp("b.c")).unwrap();
    other.root().param("b.cc.bias", 4, Init::Zeros).unwrap();
    other.save(&file).unwrap();
    let params = store();
    let before = params.get("a.bias").unwrap().value().to_vec1::<f32>().unwrap();
    let Error::Keys(report) = params.load(&file).unwrap_err() else { panic!("another error") };
    let text = report.to_string();
    assert!(text.contains("4 keys of"), "{text}");
    assert!(text.contains("missing b.c.bias (nearest: b.cc.bias), b.mean"), "{text}");
    assert!(text.contains("unexpected b.cc.bias (nearest: b.c.bias)"), "{text}");
    assert!(text.contains("a.weight is [2, 4], expected [2, 3]"), "{text}");
    assert_eq!(params.get("a.bias").unwrap().value().to_vec1::<f32>().unwrap(), before);
    let report = params.load_lenient(&file, |name| name.replace("cc", "c")).unwrap();
    assert_eq!(report.matched, ["a.bias", "b.c.weight", "b.c.bias"]);
    assert_ne!(params.get("a.bias").unwrap().value().to_vec1::<f32>().unwrap(), before);
}

#[test]
fn a_file_cut_short_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.safetensors");
    store().save(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    for length in [0, 4, 8, 20, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        let error = store().load(&file).unwrap_err().to_string();
        assert!(error.contains("cut.safetensors: not a whole safetensors file"), "{error}");
    }
}

#[test]
fn candle_layers_make_their_parameters_here() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let layer = candle_nn::linear(3, 2, params.root().pp("theirs").candle()).unwrap();
    assert_eq!(params.names(), ["theirs.weight", "theirs.bias"]);
    let ys = layer.forward(&Tensor::ones((1, 3), DType::F32, &Device::Cpu).unwrap()).unwrap();
    let grads = crate::Gradients::of(&ys.sum_all().unwrap(), &params).unwrap();
    assert_eq!(grads.len(), 2);
}

#[test]
fn parameters_are_taken_out_by_name() {
    let params = store();
    let before = params.names();
    assert_eq!(params.remove("b.*.weight"), 1);
    assert_eq!(params.names(), before.iter().filter(|name| *name != "b.c.weight").cloned().collect::<Vec<_>>());
    assert!(params.get("b.c.weight").is_none());
    assert_eq!(params.get("b.c.bias").unwrap().name(), "b.c.bias");
    assert_eq!(params.remove("nothing"), 0);
}

#[test]
fn what_is_to_be_loaded_is_not_drawn() {
    let params = ParamStore::to_load(DType::F32, &Device::Cpu);
    let is_zero =
        |name: &str| params.get(name).unwrap().value().to_vec2::<f32>().unwrap().concat().iter().all(|&x| x == 0.0);
    Linear::new(3, 2, params.root().pp("a")).unwrap();
    assert!(is_zero("a.weight"));
    let ones = params.tensors().into_iter().map(|(name, tensor)| (name, tensor.ones_like().unwrap())).collect();
    params.load_tensors("another", &ones).unwrap();
    assert!(!is_zero("a.weight"));
    // What is made afterwards is drawn.
    Linear::new(3, 2, params.root().pp("b")).unwrap();
    assert!(!is_zero("b.weight"));
}
