//! Pictures of samples over training.

use candle_core::Tensor;
use glassbox_core::train::{Callback, Run, Scores};
use glassbox_core::{Error, Pass, Result, State, concat};

use crate::{Generator, image_grid, write_png};

/// Samples to pictures.
type Draw = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send>;

/// Writes pictures of the same latents after every validation: `grid.png`, the samples as they are now, and `strip.png`, a
/// row for each validation with the first of them, so that one sees them grow. Where an average of the generator's weights
/// is kept, it is what draws.
///
/// The generator is one more over the parameters that are trained: built from the same store, it shares them.
pub struct Snapshots<G> {
    generator: G,
    latents: Tensor,
    condition: Option<Tensor>,
    columns: usize,
    scale: u32,
    draw: Draw,
    strip: Vec<Tensor>,
}

impl<G: Generator> Snapshots<G> {
    /// Pictures of what `generator` makes of `latents` under `condition`, `columns` beside each other. Samples are images of
    /// values from −1 to 1.
    pub fn new(generator: G, latents: Tensor, condition: Option<Tensor>, columns: usize) -> Self {
        let draw = Box::new(|samples: &Tensor| Ok(samples.clone()));
        Self { generator, latents, condition, columns, scale: 4, draw, strip: vec![] }
    }

    /// Samples become images by `draw`.
    pub fn drawn_by(self, draw: impl Fn(&Tensor) -> Result<Tensor> + Send + 'static) -> Self {
        Self { draw: Box::new(draw), ..self }
    }

    /// Pixels of the picture for one of the images', along each axis; 4 unless said otherwise.
    pub fn scale(self, scale: u32) -> Self {
        Self { scale, ..self }
    }
}

impl<G: Generator> Callback for Snapshots<G> {
    fn name(&self) -> &'static str {
        "snapshots"
    }

    fn validation_end(&mut self, run: &mut Run, _: &Scores) -> Result<()> {
        let samples = self.generator.generate(&self.latents, self.condition.as_ref(), &Pass::eval())?;
        let images = (self.draw)(&samples)?;
        write_png(&image_grid(&images, self.columns)?, self.scale, run.dir.file("grid.png"))?;
        self.strip.push(images.narrow(0, 0, self.columns.min(images.dim(0)?))?.copy()?);
        write_png(&image_grid(&concat(&self.strip, 0)?, self.columns)?, self.scale, run.dir.file("strip.png"))
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("rows", &self.strip.len())?;
        for (i, row) in self.strip.iter().enumerate() {
            state.tensors.insert(format!("row.{i}"), row.clone());
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        let rows: usize = state.value("rows")?;
        if rows > state.tensors.len() {
            return Err(Error::invalid("saved snapshots", format!("{rows} rows"), state.tensors.len()));
        }
        self.strip = (0..rows).map(|i| state.tensor(&format!("row.{i}")).cloned()).collect::<Result<_>>()?;
        Ok(())
    }
}
