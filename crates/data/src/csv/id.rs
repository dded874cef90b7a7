//! Naming a column.

use glassbox_core::{Error, Result};

/// A column by its name, or by its position counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnId {
    /// The name in the header.
    Name(String),
    /// The position, counted from 0.
    Index(usize),
}

impl From<&str> for ColumnId {
    fn from(name: &str) -> Self {
        Self::Name(name.to_string())
    }
}

impl From<String> for ColumnId {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for ColumnId {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The position of the column that `id` names; `what` is its role in errors.
pub(crate) fn find(names: &[String], id: &ColumnId, what: &str, place: &str) -> Result<usize> {
    let listed = || format!("columns are {}", names.join(", "));
    match id {
        ColumnId::Index(index) if *index < names.len() => Ok(*index),
        ColumnId::Index(index) => Err(Error::format(place, format!("no {what} column {index}; {}", listed()))),
        ColumnId::Name(name) => {
            let mut places = names.iter().enumerate().filter(|(_, n)| *n == name).map(|(i, _)| i);
            match (places.next(), places.next()) {
                (Some(index), None) => Ok(index),
                (None, _) => Err(Error::format(place, format!("no {what} column `{name}`; {}", listed()))),
                (Some(a), Some(b)) => {
                    Err(Error::format(place, format!("columns {a} and {b} are both called `{name}`: choose by number")))
                }
            }
        }
    }
}
