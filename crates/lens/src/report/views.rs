//! What the report shows beside the record: pictures, and figures that were handed in. Kept in `lens_views.json`, so that
//! the report can be made again.

use std::path::Path;

use glassbox_core::{Error, ParamStore, Result, write_atomic};
use serde::{Deserialize, Serialize};

use super::Figure;
use crate::record::{Roles, Shown};
use crate::views::{Worst, figures};

/// The file in the folder of a run.
const FILE: &str = "lens_views.json";

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Views {
    figures: Vec<Figure>,
}

impl Views {
    /// What the last recorded step and the last validation showed, the network's filters, and `extra`.
    pub fn of(roles: &Roles, shown: &[Shown], worst: &[Worst], extra: Vec<Figure>) -> Result<Self> {
        let mut all = extra;
        all.extend(figures::inputs(shown));
        let stores: Vec<ParamStore> = roles.iter().map(|(_, store)| store.clone()).collect();
        all.extend(figures::filters(&stores)?);
        all.extend(figures::feature_maps(shown));
        all.extend(figures::sequences(shown));
        all.extend(figures::worst(worst));
        Ok(Self { figures: all })
    }

    pub fn figures(&self) -> Vec<Figure> {
        self.figures.clone()
    }

    pub fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|e| Error::invalid(FILE, "plain data", e))?;
        write_atomic(&folder.join(FILE), text.as_bytes())
    }

    /// The views of a run; none where the file is missing.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| Error::format(path.display(), e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Error::io(path, e)),
        }
    }
}
