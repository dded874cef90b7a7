use super::affine::{Affine, warp};
use super::*;
use glassbox_core::Seed;

fn image(channels: usize, height: usize, width: usize) -> Tensor {
    let values: Vec<f32> = (0..channels * height * width).map(|i| i as f32 + 1.0).collect();
    Tensor::from_vec(values, (channels, height, width), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn normalize_works_on_channels() {
    let normalize = Normalize::new([1.0, 3.0], [0.5, 2.0]).unwrap();
    let result = normalize.apply(&image(2, 1, 2), &mut Seed(1).rng()).unwrap();
    assert_eq!(values(&result), [0.0, 2.0, 0.0, 0.5]);
    let error = normalize.apply(&image(3, 1, 2), &mut Seed(1).rng()).unwrap_err().to_string();
    assert_eq!(error, "Normalize's image: expected 2 channels, got 3");
    for (mean, std) in [(vec![0.0], vec![0.0]), (vec![0.0], vec![]), (vec![], vec![]), (vec![f32::NAN], vec![1.0])] {
        assert!(Normalize::new(mean, std).is_err());
    }
}

#[test]
fn pad_crop_shifts_by_up_to_the_padding() {
    // Position 1 of three is marked; over many draws it appears at each place the shift allows, and is lost in none.
    let mut row = vec![0f32; 9];
    row[4] = 1.0;
    let image = Tensor::from_vec(row, (1, 3, 3), &Device::Cpu).unwrap();
    let mut rng = Seed(3).rng();
    let mut seen = [false; 9];
    for _ in 0..200 {
        let shifted = values(&PadCrop { padding: 1, mode: PadMode::Zeros }.apply(&image, &mut rng).unwrap());
        assert_eq!(shifted.iter().sum::<f32>(), 1.0);
        seen[shifted.iter().position(|&v| v == 1.0).unwrap()] = true;
    }
    assert_eq!(seen, [true; 9]);
}

#[test]
fn reflection_does_not_repeat_the_border() {
    let mut rng = Seed(5).rng();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let crop = PadCrop { padding: 2, mode: PadMode::Reflect };
        let rows = values(&crop.apply(&image(1, 3, 3), &mut rng).unwrap());
        // The first row of the window, in units of the column 0, 1, 2.
        seen.insert(rows[..3].iter().map(|v| (*v as usize - 1) % 3).collect::<Vec<_>>());
    }
    // torch.nn.functional.pad(arange(3), 2, mode="reflect") is 2 1 0 1 2 1 0, seen through a window of three.
    let windows = [[0, 1, 2], [1, 0, 1], [1, 2, 1], [2, 1, 0]];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), windows);
    let error = PadCrop { padding: 3, mode: PadMode::Reflect }.apply(&image(1, 3, 4), &mut rng).unwrap_err();
    assert_eq!(error.to_string(), "PadCrop's padding: expected less than 3, got 3");
    assert!(PadCrop { padding: usize::MAX, mode: PadMode::Zeros }.apply(&image(1, 3, 4), &mut rng).is_err());
}

#[test]
fn flip_mirrors_each_row_with_its_probability() {
    let mut rng = Seed(1).rng();
    let mut flip = |probability| RandomFlip { probability }.apply(&image(2, 1, 3), &mut rng);
    assert_eq!(values(&flip(1.0).unwrap()), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    assert_eq!(values(&flip(0.0).unwrap()), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let flipped = (0..1000).filter(|_| values(&flip(0.3).unwrap())[0] == 3.0).count();
    // Standard deviation 14.5: five of them.
    assert!((228..=372).contains(&flipped), "{flipped}");
    assert!(flip(1.5).is_err() && flip(f64::NAN).is_err());
}

#[test]
fn cutout_covers_a_square_in_every_channel() {
    let mut rng = Seed(2).rng();
    let mut areas = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let result = values(&Cutout { size: 2 }.apply(&image(2, 4, 4), &mut rng).unwrap());
        let zeros: Vec<usize> = (0..16).filter(|&i| result[i] == 0.0).collect();
        assert_eq!(zeros, (0..16).filter(|&i| result[16 + i] == 0.0).collect::<Vec<_>>());
        assert!(zeros.iter().all(|i| i % 4 <= zeros[0] % 4 + 1 && i / 4 <= zeros[0] / 4 + 1));
        areas.insert(zeros.len());
    }
    assert_eq!(areas.into_iter().collect::<Vec<_>>(), [1, 2, 4]);
    let all = Cutout { size: usize::MAX }.apply(&image(1, 3, 3), &mut rng).unwrap();
    assert_eq!(values(&all), [0.0; 9]);
    assert_eq!(values(&Cutout { size: 0 }.apply(&image(1, 1, 2), &mut rng).unwrap()), [1.0, 2.0]);
}

#[test]
fn affine_is_torchvisions() {
    // Printed by tools/fixtures/data_affine.py under torch 2.15.0, torchvision 0.29.2.
    let source = (0..20).map(|i| (i * 7 % 20) as f32).collect();
    let image = Image { channels: 1, height: 4, width: 5, values: source };
    let cases: [(Affine, [f32; 20]); 4] = [
        (
            Affine { angle: 30f64.to_radians(), shift: (0.0, 0.0), scale: 1.0, shear: 0.0 },
            [
                7.2488, 7.81922, 7.74519, 8.75619, 0.24785, 9.79071, 10.69744, 7.25, 10.1423, 4.73334, 8.96058,
                13.16858, 6.08494, 13.33142, 3.54423, 2.43679, 12.74897, 9.25, 13.81699, 7.76176,
            ],
        ),
        (
            Affine { angle: (-75f64).to_radians(), shift: (1.0, -1.0), scale: 0.8, shear: 0.0 },
            [
                0.0, 0.0, 10.43663, 11.53474, 8.55653, 0.0, 1.29517, 5.23763, 9.45543, 15.8094, 0.0, 0.0, 10.09723,
                11.34021, 6.93226, 0.0, 0.0, 0.0, 0.0, 0.73778,
            ],
        ),
        (
            Affine { angle: 10f64.to_radians(), shift: (0.0, 1.0), scale: 1.3, shear: 20f64.to_radians() },
            [
                0.0, 1.3868, 4.14433, 5.57613, 3.00687, 9.16158, 5.46463, 7.88394, 12.05185, 4.61863, 11.08288,
                5.98659, 7.4575, 12.46715, 11.66172, 14.77796, 10.61629, 6.03868, 11.66905, 12.46408,
            ],
        ),
        (
            Affine { angle: 0.0, shift: (2.0, 0.0), scale: 1.0, shear: 0.0 },
            [0.0, 0.0, 0.0, 7.0, 14.0, 0.0, 0.0, 15.0, 2.0, 9.0, 0.0, 0.0, 10.0, 17.0, 4.0, 0.0, 0.0, 5.0, 12.0, 19.0],
        ),
    ];
    for (affine, expected) in cases {
        let warped = warp(&image, affine).values;
        // Values up to 19 in f32, whose positions torchvision also computes in f32.
        let worst = warped.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 5e-5, "{affine:?}: {worst} in {warped:?}");
    }
}

#[test]
fn affine_draws_within_its_bounds() {
    let mut rng = Seed(4).rng();
    let still = RandomAffine::default().apply(&image(2, 3, 4), &mut rng).unwrap();
    assert_eq!(values(&still), values(&image(2, 3, 4)));
    let turned = RandomAffine { degrees: 30.0, translate: 0.2, scale: (0.8, 1.2), shear: 10.0 };
    let (a, b) = (turned.apply(&image(2, 3, 4), &mut rng).unwrap(), turned.apply(&image(2, 3, 4), &mut rng).unwrap());
    assert_ne!(values(&a), values(&b));
    let extreme = RandomAffine { degrees: 360.0, translate: 1e300, scale: (1e-300, 1e300), shear: 89.999_999 };
    for _ in 0..100 {
        assert!(values(&extreme.apply(&image(2, 3, 4), &mut rng).unwrap()).iter().all(|v| v.is_finite()));
    }
    for wrong in [
        RandomAffine { degrees: -1.0, ..Default::default() },
        RandomAffine { translate: f64::NAN, ..Default::default() },
        RandomAffine { scale: (0.0, 1.0), ..Default::default() },
        RandomAffine { scale: (2.0, 1.0), ..Default::default() },
        RandomAffine { shear: 90.0, ..Default::default() },
    ] {
        assert!(wrong.apply(&image(1, 2, 2), &mut rng).is_err());
    }
}

fn all() -> Compose {
    Compose::new()
        .then(PadCrop { padding: 1, mode: PadMode::Zeros })
        .then(RandomFlip::default())
        .then(RandomAffine { degrees: 15.0, translate: 0.1, scale: (0.9, 1.1), shear: 5.0 })
        .then(Cutout { size: 1 })
        .then(Normalize::new([0.5], [2.0]).unwrap())
}

#[test]
fn the_same_stream_gives_the_same_bits() {
    let sample = |seed: u64| {
        let target = Tensor::new(3u32, &Device::Cpu).unwrap();
        let result = all().apply_to_sample(Sample { input: image(1, 6, 6), target }, &mut Seed(seed).rng()).unwrap();
        assert_eq!(result.target.to_scalar::<u32>().unwrap(), 3);
        values(&result.input).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(sample(1), sample(1));
    assert_ne!(sample(1), sample(2));
}

#[test]
fn any_shape_passes_or_is_an_error() {
    let mut rng = Seed(1).rng();
    let empty = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    for dims in [[1, 0, 3], [1, 3, 0], [1, 1, 1], [1, 0, 0]] {
        assert_eq!(all().apply(&empty(&dims), &mut rng).unwrap().dims(), dims);
    }
    assert_eq!(RandomFlip::default().apply(&empty(&[0, 2, 2]), &mut rng).unwrap().dims(), [0, 2, 2]);
    let error = all().apply(&empty(&[2, 2]), &mut rng).unwrap_err().to_string();
    assert_eq!(error, "PadCrop's image: expected (channels, height, width) of f32, got [2, 2] of f32");
    let double = empty(&[1, 2, 2]).to_dtype(DType::F64).unwrap();
    assert!(Cutout { size: 1 }.apply(&double, &mut rng).is_err());
    // A transposed image is read by its layout.
    let turned = image(1, 2, 3).transpose(1, 2).unwrap();
    let flipped = RandomFlip { probability: 1.0 }.apply(&turned, &mut rng).unwrap();
    assert_eq!(values(&flipped), [4.0, 1.0, 5.0, 2.0, 6.0, 3.0]);
}
