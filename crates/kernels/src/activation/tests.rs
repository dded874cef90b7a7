use candle_core::{Device, Tensor, Var};

use super::{Activation, activation, composed};
use crate::testing::flat;
use crate::testkit::{check_gradients, values};

const ALL: [Activation; 14] = [
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::LeakyRelu(0.1),
    Activation::Elu(1.3),
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Softplus { beta: 1.0, threshold: 20.0 },
    Activation::Softplus { beta: 2.0, threshold: 1.5 },
    Activation::Mish,
    Activation::HardSwish,
    Activation::HardSigmoid,
    Activation::LogSigmoid,
];

/// Values and gradients at `xs`.
fn both(xs: &Tensor, f: impl Fn(&Tensor) -> crate::Result<Tensor>) -> (Vec<f64>, Vec<f64>) {
    let var = Var::from_tensor(xs).unwrap();
    let ys = f(&var).unwrap();
    let grads = ys.backward().unwrap();
    (flat(&ys), flat(grads.get(&var).unwrap()))
}

#[test]
fn gradients() {
    let xs = (values((3, 5), 3).unwrap() * 4.0).unwrap();
    for kind in ALL {
        check_gradients(std::slice::from_ref(&xs), |t| activation(&t[0], kind))
            .unwrap_or_else(|e| panic!("{kind:?}: {e}"));
    }
}

#[test]
fn known_values() {
    let at = |kind, x: f64| flat(&activation(&Tensor::new(&[x], &Device::Cpu).unwrap(), kind).unwrap())[0];
    let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "expected {want}, got {got}");
    close(at(Activation::Sigmoid, 1.0), 0.731_058_578_630_004_9);
    close(at(Activation::Gelu, 1.0), 0.841_344_746_068_542_9);
    close(at(Activation::Mish, 1.0), 1f64.exp().ln_1p().tanh());
    close(at(Activation::Mish, -2.0), -2.0 * (-2f64).exp().ln_1p().tanh());
    close(at(Activation::Elu(1.3), -1.0), 1.3 * (-1f64).exp_m1());
    close(at(Activation::Softplus { beta: 2.0, threshold: 1.5 }, 1.0), 1.0);
    close(at(Activation::HardSwish, 1.0), 4.0 / 6.0);
    close(at(Activation::LogSigmoid, -3.0), -(3f64.exp().ln_1p()));
}

/// The composed path is what other devices run: same values, same gradients.
#[test]
fn fused_equals_composed() {
    let xs = Tensor::cat(&[(values(64, 5).unwrap() * 6.0).unwrap(), extremes()], 0).unwrap();
    for kind in ALL {
        let (fused, composed) = (both(&xs, |x| activation(x, kind)), both(&xs, |x| composed::activation(x, kind)));
        // The composed GELUs cancel in the lower tail: their error is absolute, 1e-16 times |x|.
        for (a, b) in fused.0.iter().zip(&composed.0).chain(fused.1.iter().zip(&composed.1)) {
            assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{kind:?}: fused {a}, composed {b}");
        }
    }
}

fn extremes() -> Tensor {
    Tensor::new(&[-1e4, -1e3, -100.0, -88.0, -20.0, 20.0, 88.0, 100.0, 1e3, 1e4], &Device::Cpu).unwrap()
}

/// f32 agrees with f64, from 1e-6 to 1e4, and a NaN comes out as one in value and in gradient.
#[test]
fn f32_agrees_with_f64_and_keeps_nan() {
    let xs = Tensor::cat(&[(values(4096, 6).unwrap() * 9.0).unwrap(), extremes()], 0).unwrap();
    let xs = Tensor::cat(&[&xs, &(&xs * 1e-6).unwrap()], 0).unwrap().to_dtype(candle_core::DType::F32).unwrap();
    for kind in ALL {
        let single = both(&xs, |x| activation(x, kind));
        let double = both(&xs.to_dtype(candle_core::DType::F64).unwrap(), |x| activation(x, kind));
        for (i, (a, b)) in single.0.iter().zip(&double.0).chain(single.1.iter().zip(&double.1)).enumerate() {
            // A few ulp of f32; those of sums like y + alpha are of the larger term.
            assert!((a - b).abs() <= 4e-7 + 2e-6 * b.abs(), "{kind:?} {i}: f32 {a}, f64 {b}");
        }
        let nan = both(&Tensor::new(&[f32::NAN, 1.0], &Device::Cpu).unwrap(), |x| activation(x, kind));
        assert!(nan.0[0].is_nan() && nan.0[1].is_finite(), "{kind:?}: {nan:?}");
    }
}

/// Long inputs take the parallel path; views take the strided one.
#[test]
fn long_and_strided_inputs() {
    let xs = values((300, 200), 7).unwrap();
    let whole = flat(&activation(&xs, Activation::Tanh).unwrap());
    let naive: Vec<f64> = flat(&xs).iter().map(|x| x.tanh()).collect();
    assert!(whole.iter().zip(&naive).all(|(a, b)| (a - b).abs() < 1e-15));
    let view = flat(&activation(&xs.t().unwrap(), Activation::Tanh).unwrap());
    assert_eq!(view, flat(&activation(&xs, Activation::Tanh).unwrap().t().unwrap()));
    let part = flat(&activation(&xs.narrow(0, 10, 3).unwrap(), Activation::Tanh).unwrap());
    assert_eq!(part, whole[2000..2600]);
}

#[test]
fn errors_are_named() {
    let ints = Tensor::new(&[1u32], &Device::Cpu).unwrap();
    let error = activation(&ints, Activation::Mish).unwrap_err().to_string();
    assert!(error.contains("mish: expected a float type, got U32"), "{error}");
    let error = activation(&extremes(), Activation::Softplus { beta: 0.0, threshold: 20.0 }).unwrap_err().to_string();
    assert!(error.contains("softplus: expected beta above 0, got 0"), "{error}");
}
