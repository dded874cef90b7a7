//! What a run needs to go on where it stopped: named tensors and named values.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// The saved state of an optimizer, a callback, a training step: tensors and plain values by name.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Everything else by name.
    pub values: BTreeMap<String, Value>,
}

impl State {
    /// Adds a value.
    ///
    /// NaN and the infinities do not come back: JSON has no word for them.
    ///
    /// # Errors
    /// A value that JSON cannot hold, such as a map whose keys are not text.
    pub fn put<T: Serialize>(&mut self, name: &str, value: &T) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|e| Error::invalid(name, "a value that can be saved", e))?;
        self.values.insert(name.to_string(), value);
        Ok(())
    }

    /// Reads a value back.
    ///
    /// # Errors
    /// It is missing or of another type.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.values.get(name).ok_or_else(|| Error::invalid("saved state", format!("`{name}`"), "none"))?;
        T::deserialize(value).map_err(|e| Error::invalid(format!("saved `{name}`"), "another type", e))
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// It is missing.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| Error::invalid("saved state", format!("tensor `{name}`"), "none"))
    }

    /// Takes in `child` under `name.`.
    pub fn nest(&mut self, name: &str, child: Self) {
        self.tensors.extend(child.tensors.into_iter().map(|(key, t)| (format!("{name}.{key}"), t)));
        self.values.extend(child.values.into_iter().map(|(key, v)| (format!("{name}.{key}"), v)));
    }

    /// What [`nest`](Self::nest) took in under `name.`.
    pub fn nested(&self, name: &str) -> Self {
        let prefix = format!("{name}.");
        let strip = |key: &String| key.strip_prefix(&prefix).map(str::to_string);
        Self {
            tensors: self.tensors.iter().filter_map(|(key, t)| Some((strip(key)?, t.clone()))).collect(),
            values: self.values.iter().filter_map(|(key, v)| Some((strip(key)?, v.clone()))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_come_back_to_the_bit() {
        let mut state = State::default();
        let value = 0.1 + 0.2;
        state.put("x", &value).unwrap();
        let mut outer = State::default();
        outer.nest("inner", state);
        let text = serde_json::to_string(&outer.values).unwrap();
        let read = State { values: serde_json::from_str(&text).unwrap(), ..State::default() };
        assert_eq!(read.nested("inner").value::<f64>("x").unwrap().to_bits(), f64::to_bits(value));
        assert!(read.value::<f64>("y").unwrap_err().to_string().contains("`y`"));
    }
}
