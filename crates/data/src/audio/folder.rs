//! Recordings in a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use glassbox_core::dataset::Fold;
use glassbox_core::{Dataset, Error, Result, Rng, Sample, Subset};

use super::waveform::check_rate;
use super::{NamePattern, read_wav};
use crate::images::out_of_range;
use crate::source::list;

/// A file, its class, and what else is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The WAV file.
    pub path: PathBuf,
    /// What its class is called.
    pub class: String,
    /// Anything else, by name: `speaker`, `index`.
    pub fields: BTreeMap<String, String>,
}

impl Recording {
    /// A field; none where the recording has no such.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// A field as a number.
    ///
    /// # Errors
    /// The recording has no such field, or it is no whole number. The message names the file.
    pub fn number(&self, name: &str) -> Result<usize> {
        let text = self.field(name).unwrap_or_default();
        let wrong = || Error::format(self.path.display(), format!("{name}: expected a whole number, got `{text}`"));
        text.parse().map_err(|_| wrong())
    }
}

/// A folder of WAV files with their classes, read from disk one at a time or kept in memory.
///
/// The classes' names in sorted order are 0, 1, …. Files whose name does not end in `.wav` and names that start with a dot
/// are passed over. Channels are mixed down to one, and every recording is brought to one rate.
///
/// # Shapes
/// A sample's input is (1, num_samples), f32, of each recording's own length; its target is a u32 scalar.
///
/// ```no_run
/// use glassbox_core::DatasetExt;
/// use glassbox_data::audio::{AudioFolder, Mfcc, MfccConfig};
/// use glassbox_data::transform::Transform;
/// let digits = AudioFolder::by_name("recordings", "{class}_{speaker}_{index}", 8000)?.in_memory()?;
/// let (test, train) = digits.split_where(|recording| Ok(recording.number("index")? < 5))?;
/// let mfcc = Mfcc::new(MfccConfig::speech(8000))?;
/// let train = train.map(move |sample, rng| mfcc.apply_to_sample(sample, rng));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AudioFolder {
    recordings: Arc<[Recording]>,
    labels: Arc<[u32]>,
    class_names: Vec<String>,
    sample_rate: u32,
    sounds: Option<Arc<[Tensor]>>,
}

impl AudioFolder {
    /// Lists a folder with a folder of WAV files per class.
    ///
    /// # Errors
    /// The folder cannot be read or holds no folder; a class has no recording; as [`new`](Self::new).
    pub fn open(dir: impl AsRef<Path>, sample_rate: u32) -> Result<Self> {
        let dir = dir.as_ref();
        let mut recordings = Vec::new();
        for folder in list(dir)?.into_iter().filter(|path| path.is_dir()) {
            let class = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let files = wav_files(&folder)?;
            if files.is_empty() {
                return Err(Error::format(folder.display(), "no WAV files in this class's folder"));
            }
            let recording = |path| Recording { path, class: class.clone(), fields: BTreeMap::new() };
            recordings.extend(files.into_iter().map(recording));
        }
        if recordings.is_empty() {
            return Err(Error::format(dir.display(), "no folders, expected one per class"));
        }
        Self::new(recordings, sample_rate)
    }

    /// Lists a folder of WAV files whose names, without the `.wav`, follow a [`NamePattern`] with a field `{class}`. Its
    /// other fields are the recordings'.
    ///
    /// # Errors
    /// The folder cannot be read or holds no WAV file; the pattern is wrong or has no field `{class}`; a name does not
    /// follow it; as [`new`](Self::new).
    pub fn by_name(dir: impl AsRef<Path>, pattern: &str, sample_rate: u32) -> Result<Self> {
        let (dir, pattern) = (dir.as_ref(), NamePattern::new(pattern)?);
        if !pattern.has("class") {
            return Err(Error::invalid("name pattern", "a field `{class}`", format!("`{pattern}`")));
        }
        let recording = |path: PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let mut fields = pattern.fields_of(&stem).ok_or_else(|| {
                Error::format(path.display(), format!("expected a name like `{pattern}`, got `{stem}`"))
            })?;
            Ok(Recording { class: fields.remove("class").unwrap_or_default(), path, fields })
        };
        let recordings = wav_files(dir)?.into_iter().map(recording).collect::<Result<Vec<_>>>()?;
        if recordings.is_empty() {
            return Err(Error::format(dir.display(), "no WAV files"));
        }
        Self::new(recordings, sample_rate)
    }

    /// A dataset of these `recordings`, in this order, all brought to `sample_rate`.
    ///
    /// # Errors
    /// There is none; the rate is 0 or above [`MAX_SAMPLE_RATE`](super::MAX_SAMPLE_RATE).
    pub fn new(recordings: Vec<Recording>, sample_rate: u32) -> Result<Self> {
        check_rate(sample_rate)?;
        if recordings.is_empty() {
            return Err(Error::invalid("recordings", "at least one", "none"));
        }
        let class_names: BTreeSet<&String> = recordings.iter().map(|r| &r.class).collect();
        let numbers: BTreeMap<&String, u32> = class_names.iter().copied().zip(0..).collect();
        let labels = recordings.iter().filter_map(|r| numbers.get(&r.class).copied()).collect();
        let class_names = class_names.into_iter().cloned().collect();
        Ok(Self { labels, class_names, recordings: recordings.into(), sample_rate, sounds: None })
    }

    /// The same, with every recording read now and kept: four bytes a sample.
    ///
    /// # Errors
    /// A recording cannot be read, as [`read_wav`] says.
    pub fn in_memory(self) -> Result<Self> {
        let sounds = (0..self.len()).map(|index| self.sound(index)).collect::<Result<Vec<Tensor>>>()?;
        Ok(Self { sounds: Some(sounds.into()), ..self })
    }

    /// What each class is called, in the order of the classes.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Of every sample, in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The files and what is known of them, in the order of the samples.
    pub fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// The recordings for which `first` holds, and the others.
    ///
    /// # Errors
    /// Those of `first`; a part without recordings.
    pub fn split_where(self, first: impl Fn(&Recording) -> Result<bool>) -> Result<Fold<Self>> {
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for (index, recording) in self.recordings.iter().enumerate() {
            if first(recording)? { chosen.push(index) } else { rest.push(index) }
        }
        if chosen.is_empty() || rest.is_empty() {
            let got = format!("{} and {}", chosen.len(), rest.len());
            return Err(Error::invalid("split", "at least one recording in each part", got));
        }
        let all = Arc::new(self);
        Ok((Subset::new(Arc::clone(&all), chosen)?, Subset::new(all, rest)?))
    }

    /// For each value of a field, such as each `speaker`, in sorted order: the value, the recordings with another value to
    /// train on, and those with this one to test on.
    ///
    /// # Errors
    /// A recording has no such field; all have the same value.
    pub fn leave_one_out(self, field: &str) -> Result<Vec<(String, Fold<Self>)>> {
        let mut values = BTreeSet::new();
        for recording in self.recordings.iter() {
            let missing = || Error::format(recording.path.display(), format!("expected a field `{field}`, got none"));
            values.insert(recording.field(field).ok_or_else(missing)?.to_string());
        }
        let all = Arc::new(self);
        let fold = |value: String| {
            let is_value = |&index: &usize| all.recordings[index].field(field) == Some(&value);
            let (test, train): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(is_value);
            if train.is_empty() {
                return Err(Error::invalid(
                    format!("field `{field}`"),
                    "at least two values",
                    format!("only `{value}`"),
                ));
            }
            let part = |indices| Subset::new(Arc::clone(&all), indices);
            Ok((value, (part(train)?, part(test)?)))
        };
        values.into_iter().map(fold).collect()
    }

    /// The sound of a recording, read from disk unless it is kept: (1, num_samples).
    fn sound(&self, index: usize) -> Result<Tensor> {
        let recording = self.recordings.get(index).ok_or_else(|| out_of_range(index, self.len()))?;
        match self.sounds.as_ref().and_then(|sounds| sounds.get(index)) {
            Some(sound) => Ok(sound.clone()),
            None => {
                let sound = read_wav(&recording.path)?.mono().resampled(self.sample_rate);
                sound.map_err(|e| Error::format(recording.path.display(), e.to_string()))?.tensor()
            }
        }
    }
}

impl Dataset for AudioFolder {
    type Item = Sample;

    fn len(&self) -> usize {
        self.recordings.len()
    }

    fn get(&self, index: usize, _rng: &mut Rng) -> Result<Sample> {
        let input = self.sound(index)?;
        Ok(Sample { input, target: Tensor::new(self.labels[index], &Device::Cpu)? })
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        let label = self.labels.get(index).ok_or_else(|| out_of_range(index, self.len()))?;
        Ok(Some(*label as usize))
    }
}

fn wav_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let is_wav = |path: &PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav")) && path.is_file();
    Ok(list(dir)?.into_iter().filter(is_wav).collect())
}
