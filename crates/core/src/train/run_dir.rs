//! The folder of a run.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result, write_atomic};

/// The folder of a run: `config.json`, `metrics.jsonl`, `model.safetensors`, `checkpoints/`.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the folder where it does not exist, and sees that files can be written there.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn new(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let checkpoints = path.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(|e| Error::io(&checkpoints, e))?;
        let trial = path.join(".writable");
        std::fs::write(&trial, []).and_then(|()| std::fs::remove_file(&trial)).map_err(|e| Error::io(&path, e))?;
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Writes what the run was started with to `config.json`.
    ///
    /// # Errors
    /// The file cannot be written, or JSON cannot hold `config`.
    pub fn write_config(&self, config: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(config).map_err(|e| Error::invalid("config", "plain data", e))?;
        write_atomic(&self.file("config.json"), format!("{text}\n").as_bytes())
    }
}
