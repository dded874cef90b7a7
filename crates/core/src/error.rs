//! The one error of the workspace: who, expected, got, where.

use std::path::{Path, PathBuf};

/// The result of everything in Glassbox that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in words that a user can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error inside the layer at `path`.
    #[error("at `{path}`: {source}")]
    At {
        /// The layer's path, such as `encoder.2.attn.q`.
        path: String,
        /// What happened there.
        source: Box<Error>,
    },
    /// A value that does not fit: an argument, a configuration field, a shape.
    #[error("{what}: expected {expected}, got {got}")]
    Invalid {
        /// What was looked at.
        what: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        got: String,
    },
    /// A file whose content is not what its format says; `place` is the path, with line and column where there are any.
    #[error("{place}: {problem}")]
    Format {
        /// The file, and the place in it.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// The operating system refused a file operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file's keys do not fit the model's.
    #[error("{0}")]
    Keys(Box<crate::params::LoadReport>),
    /// Trainable parameters that the loss does not depend on.
    #[error("no gradient reached: {} (a frozen parameter is declared with `params.freeze(\"…\")`)", names.join(", "))]
    NoGradient {
        /// The parameters' names.
        names: Vec<String>,
    },
    /// A loss or a parameter became NaN or infinite.
    #[error("{what} is {value} at step {step}{}", last_good.as_ref().map(|p| format!(". Last good checkpoint: {}", p.display())).unwrap_or_default())]
    NonFinite {
        /// What is not finite.
        what: String,
        /// Its value.
        value: f64,
        /// The step, counted from 1.
        step: u64,
        /// The newest checkpoint from before, if there is one.
        last_good: Option<PathBuf>,
    },
    /// An error of Candle's, or of an operation in `glassbox-kernels`.
    #[error("{0}")]
    Candle(Box<candle_core::Error>),
}

impl Error {
    /// "`what`: expected `expected`, got `got`".
    pub fn invalid(what: impl Into<String>, expected: impl Into<String>, got: impl std::fmt::Display) -> Self {
        Self::Invalid { what: what.into(), expected: expected.into(), got: got.to_string() }
    }

    /// A file whose content breaks its format, at `place`.
    pub fn format(place: impl std::fmt::Display, problem: impl Into<String>) -> Self {
        Self::Format { place: place.to_string(), problem: problem.into() }
    }

    /// An error of the operating system at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// What is not finite, at which step, where this is [`NonFinite`](Self::NonFinite), in a layer or outside.
    pub fn non_finite(&self) -> Option<(&str, u64)> {
        match self {
            Self::At { source, .. } => source.non_finite(),
            Self::NonFinite { what, step, .. } => Some((what, *step)),
            _ => None,
        }
    }

    /// The [`NonFinite`](Self::NonFinite) that this is, without the layer in which it was found.
    pub(crate) fn into_non_finite(self) -> Option<Self> {
        match self {
            Self::At { source, .. } => source.into_non_finite(),
            Self::NonFinite { .. } => Some(self),
            _ => None,
        }
    }

    /// Adds the layer's path, unless the error already says where: paths are absolute, so the innermost one is right.
    pub fn at(self, path: &str) -> Self {
        match self {
            Self::At { .. } => self,
            _ if path.is_empty() => self,
            other => Self::At { path: path.to_string(), source: Box::new(other) },
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(Box::new(error))
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(inner) => *inner,
            other => candle_core::Error::wrap(other),
        }
    }
}
