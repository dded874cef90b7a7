//! From a word on the command line to a device.

use candle_core::Device;

use crate::{Error, Result};

/// The device that `name` stands for: `cpu`, `cuda`, `cuda:1`, `metal`, `metal:0` or `auto`.
///
/// `auto` is the first CUDA device, else the first Metal device, else the CPU, as far as this build has them.
///
/// # Errors
/// An unknown name, a device that this build was compiled without, or one that the machine does not have.
///
/// ```
/// let cpu = glassbox_core::device("cpu")?;
/// assert!(cpu.is_cpu());
/// assert!(glassbox_core::device("tpu").is_err());
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn device(name: &str) -> Result<Device> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, index.parse::<usize>().map_err(|_| unknown(name))?),
        None => (name, 0),
    };
    match kind {
        "cpu" if index == 0 => Ok(Device::Cpu),
        "auto" if !name.contains(':') => Ok(auto()),
        "cuda" => built_with(cfg!(feature = "cuda"), "cuda", name).and_then(|()| open(name, Device::new_cuda(index))),
        "metal" => {
            built_with(cfg!(feature = "metal"), "metal", name).and_then(|()| open(name, Device::new_metal(index)))
        }
        _ => Err(unknown(name)),
    }
}

fn auto() -> Device {
    let cuda = cfg!(feature = "cuda").then(|| Device::new_cuda(0).ok()).flatten();
    let metal = || cfg!(feature = "metal").then(|| Device::new_metal(0).ok()).flatten();
    cuda.or_else(metal).unwrap_or(Device::Cpu)
}

fn built_with(present: bool, feature: &str, name: &str) -> Result<()> {
    if present {
        return Ok(());
    }
    Err(Error::invalid(format!("device `{name}`"), format!("a build with `--features {feature}`"), "one without it"))
}

fn open(name: &str, device: candle_core::Result<Device>) -> Result<Device> {
    device.map_err(|e| Error::invalid(format!("device `{name}`"), "one that this machine has", e))
}

fn unknown(name: &str) -> Error {
    Error::invalid("device", "cpu, cuda, cuda:N, metal, metal:N or auto", format!("`{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        assert!(device("cpu").unwrap().is_cpu());
        assert!(device("auto").is_ok());
        for wrong in ["", "gpu", "cpu:1", "cuda:x", "auto:0", "cuda:-1"] {
            let message = device(wrong).unwrap_err().to_string();
            assert!(message.contains("expected cpu, cuda"), "{message}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_so() {
        let message = device("cuda:1").unwrap_err().to_string();
        assert_eq!(message, "device `cuda:1`: expected a build with `--features cuda`, got one without it");
    }
}
