//! A progress bar in a terminal, plain lines elsewhere.

use crate::Result;
use crate::train::{Callback, Run, Scores, StepReport};

/// Shows the run on standard error: in a terminal a bar with rate, remaining time, loss and scores (feature `progress`);
/// elsewhere, or without the feature, a line for each epoch and each validation within one.
#[derive(Default)]
pub struct ProgressBar {
    bar: Bar,
    /// Smoothed over the last fifty steps or so.
    loss: Option<f64>,
    scores: Option<String>,
}

/// Share of the old value in the smoothed loss.
const SMOOTHING: f64 = 0.98;

impl ProgressBar {
    fn status(&self) -> String {
        let loss = self.loss.map(|loss| format!("loss {loss:.4}")).unwrap_or_default();
        format!("{loss}  {}", self.scores.as_deref().unwrap_or_default())
    }
}

impl Callback for ProgressBar {
    fn name(&self) -> &'static str {
        "progress_bar"
    }

    fn fit_start(&mut self, run: &mut Run) -> Result<()> {
        self.bar.start(run.progress.total_steps, run.progress.step);
        if run.resumed {
            self.bar.line(&format!("resumed after step {}", run.progress.step));
        }
        Ok(())
    }

    fn batch_end(&mut self, run: &mut Run, report: &StepReport) -> Result<()> {
        let smoothed = self.loss.map_or(report.loss, |old| SMOOTHING * old + (1.0 - SMOOTHING) * report.loss);
        self.loss = Some(smoothed);
        self.bar.show(run.progress.step, || self.status());
        Ok(())
    }

    fn validation_end(&mut self, run: &mut Run, scores: &Scores) -> Result<()> {
        self.scores = Some(scores.to_string());
        if !run.progress.last_of_epoch {
            self.bar.line(&format!("step {}  {scores}", run.progress.step));
        }
        Ok(())
    }

    fn epoch_end(&mut self, run: &mut Run, loss: f64) -> Result<()> {
        let total = run.total_epochs.map(|total| format!("/{total}")).unwrap_or_default();
        let scores = self.scores.as_deref().unwrap_or_default();
        let (epoch, seconds) = (run.progress.epoch, run.seconds);
        self.bar.line(&format!("epoch {epoch}{total}  loss {loss:.4}  {scores}  {seconds:.1} s"));
        Ok(())
    }

    fn fit_end(&mut self, _: &mut Run) -> Result<()> {
        self.bar.end();
        Ok(())
    }
}

#[cfg(feature = "progress")]
use terminal::Bar;

#[cfg(not(feature = "progress"))]
use plain::Bar;

#[cfg(feature = "progress")]
mod terminal {
    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

    /// A bar where standard error is a terminal; hidden elsewhere, where lines are printed as they are.
    #[derive(Default)]
    pub struct Bar(Option<ProgressBar>);

    impl Bar {
        pub fn start(&mut self, total: Option<u64>, done: u64) {
            let (bar, template) = match total {
                Some(total) => (ProgressBar::new(total), "{wide_bar} {pos}/{len}  {per_sec}  {eta} left  {msg}"),
                None => (ProgressBar::new_spinner(), "{spinner} step {pos}  {per_sec}  {elapsed}  {msg}"),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            // The template is one of the two above; a style that indicatif refuses leaves its default.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_position(done);
            bar.reset_eta();
            self.0 = Some(bar);
        }

        pub fn show(&self, done: u64, status: impl FnOnce() -> String) {
            if let Some(bar) = self.0.as_ref().filter(|bar| !bar.is_hidden()) {
                bar.set_position(done);
                bar.set_message(status());
            }
        }

        pub fn line(&self, text: &str) {
            match self.0.as_ref().filter(|bar| !bar.is_hidden()) {
                Some(bar) => bar.println(text),
                None => eprintln!("{text}"),
            }
        }

        pub fn end(&self) {
            if let Some(bar) = &self.0 {
                bar.finish_and_clear();
            }
        }
    }
}

#[cfg(not(feature = "progress"))]
mod plain {
    #[derive(Default)]
    pub struct Bar;

    impl Bar {
        pub fn start(&mut self, _: Option<u64>, _: u64) {}

        pub fn show(&self, _: u64, _: impl FnOnce() -> String) {}

        pub fn line(&self, text: &str) {
            eprintln!("{text}");
        }

        pub fn end(&self) {}
    }
}
