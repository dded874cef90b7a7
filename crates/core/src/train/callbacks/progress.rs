//! A progress bar in a terminal, plain lines elsewhere.

use crate::train::{Callback, Run, Scores, StepReport};
use crate::{Error, Result};

/// Shows the run on standard error: in a terminal a bar with rate, remaining time, the loss with its course, scores and the
/// newest warning (feature `progress`); elsewhere, or without the feature, a line for each epoch and each validation within one.
#[derive(Default)]
pub struct ProgressBar {
    bar: Bar,
    /// Smoothed over the last fifty steps or so.
    loss: Option<f64>,
    scores: Option<String>,
    course: Course,
    /// How many of the run's warnings were shown, and the newest.
    warned: usize,
    warning: Option<String>,
}

/// The losses of a run, for a drawing of a few characters: each of `means` is of `width` steps, the last one unfinished.
#[derive(Default)]
struct Course {
    means: Vec<f64>,
    width: u32,
    in_last: u32,
}

/// Characters of the drawing at most; even, since two become one where there are too many.
const COURSE: usize = 16;
/// A warning is cut to so many characters in the bar; its line has all of it.
const WARNING: usize = 60;

impl Course {
    fn push(&mut self, loss: f64) {
        self.width = self.width.max(1);
        match self.means.last_mut().filter(|_| self.in_last < self.width) {
            Some(mean) => *mean += (loss - *mean) / f64::from(self.in_last + 1),
            None => {
                self.means.push(loss);
                self.in_last = 0;
            }
        }
        self.in_last += 1;
        if self.means.len() == COURSE && self.in_last == self.width {
            self.means = self.means.chunks(2).map(|pair| pair.iter().sum::<f64>() / pair.len() as f64).collect();
            self.width *= 2;
            self.in_last = self.width;
        }
    }

    fn draw(&self) -> String {
        let finite = || self.means.iter().copied().filter(|mean| mean.is_finite());
        let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let bar = |mean: f64| bars[((mean - low) / (high - low) * 7.0).round().clamp(0.0, 7.0) as usize];
        finite().map(bar).collect()
    }
}

/// Share of the old value in the smoothed loss.
const SMOOTHING: f64 = 0.98;

impl ProgressBar {
    fn status(&self) -> String {
        let loss = self.loss.map(|loss| format!("loss {loss:.4}")).unwrap_or_default();
        let (course, scores) = (self.course.draw(), self.scores.as_deref().unwrap_or_default());
        let warning =
            self.warning.as_ref().map(|text| format!("  ! {}", text.chars().take(WARNING).collect::<String>()));
        format!("{loss} {course}  {scores}{}", warning.unwrap_or_default())
    }

    fn show_warnings(&mut self, run: &Run) {
        for text in run.warnings().iter().skip(self.warned) {
            self.bar.line(&format!("warning: {text}"));
            self.warning = Some(text.clone());
        }
        self.warned = run.warnings().len();
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
        self.course.push(report.loss);
        self.show_warnings(run);
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

    fn fit_end(&mut self, run: &mut Run) -> Result<()> {
        self.show_warnings(run);
        self.bar.end();
        Ok(())
    }

    fn fit_failed(&mut self, run: &mut Run, _: &Error) -> Result<()> {
        self.fit_end(run)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_of_a_loss_stays_short() {
        let mut course = Course::default();
        assert_eq!(course.draw(), "");
        for step in 0..1000 {
            course.push(f64::from(1000 - step));
        }
        let drawn: Vec<char> = course.draw().chars().collect();
        assert!((COURSE / 2..=COURSE).contains(&drawn.len()), "{drawn:?}");
        assert_eq!((drawn.first(), drawn.last()), (Some(&'█'), Some(&'▁')));
        // A mean of 64 steps, 1000 down to 937.
        assert_eq!(course.means[0], 968.5);
    }

    #[test]
    fn a_loss_that_stays_is_drawn() {
        let mut course = Course::default();
        course.push(1.0);
        course.push(f64::NAN);
        course.push(1.0);
        assert_eq!(course.draw(), "▁▁");
    }
}
