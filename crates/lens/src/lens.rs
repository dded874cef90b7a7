//! The instruments as one callback.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use glassbox_core::probe::Answer;
use glassbox_core::train::{Run, Scores, StepReport};
use glassbox_core::{Callback, Error, Probe, Result, Seen, State};

#[cfg(feature = "dashboard")]
use crate::dashboard::Dashboard;
use crate::non_finite::{FirstNonFinite, GradientCheck};
use crate::record::{Answers, LensFile, Line, Record, Recorder, Shown};
use crate::report::{Figure, Report, Views};
use crate::rules::{Finding, diagnose};
use crate::tensorboard::EventFile;
use crate::views::Mistakes;

/// Watches a run from inside: vital signs of every layer, diagnosis, and a report.
///
/// Every 50th step, and the first, it records norms of weights and gradients, the size of updates, and how activations are
/// distributed; at every validation of a classifier, what is taken for what. It writes `lens.jsonl`
/// ([format](crate::record)), warns when a rule finds something, and leaves `report.html` at the end. Where a step ends with
/// a number that is not finite, the error names the first layer in which one appeared, whose inputs are kept in
/// `first_non_finite.safetensors`.
///
/// Looking changes no bit of the result. Between the recorded steps it costs next to nothing.
///
/// ```no_run
/// use glassbox_core::{RunDir, Trainer};
/// use glassbox_lens::Lens;
/// let trainer = Trainer::new(RunDir::new("runs/mine")?).epochs(10).with(Lens::default());
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Lens {
    every: u64,
    report: bool,
    tensorboard: bool,
    checks_gradients: bool,
    extra: Vec<Figure>,
    record: Record,
    shown: Vec<Shown>,
    mistakes: Mistakes,
    file: Option<LensFile>,
    events: Option<EventFile>,
    watching: Option<(u64, Arc<Recorder>)>,
    answers: Option<Arc<AnswerProbe>>,
    #[cfg(feature = "dashboard")]
    dashboard: Option<Dashboard>,
}

impl Default for Lens {
    fn default() -> Self {
        Self::every(50)
    }
}

impl Lens {
    /// Records every `steps`-th step, and the first.
    pub fn every(steps: u64) -> Self {
        Self {
            every: steps.max(1),
            report: true,
            tensorboard: false,
            checks_gradients: false,
            extra: vec![],
            record: Record::default(),
            shown: vec![],
            mistakes: Mistakes::default(),
            file: None,
            events: None,
            watching: None,
            answers: None,
            #[cfg(feature = "dashboard")]
            dashboard: None,
        }
    }

    /// Leaves no `report.html`.
    pub fn without_report(self) -> Self {
        Self { report: false, ..self }
    }

    /// Writes the metrics and vital signs for TensorBoard, too: `events.out.tfevents.*` in the folder of the run.
    pub fn tensorboard(self) -> Self {
        Self { tensorboard: true, ..self }
    }

    /// Shows the run in a full-screen view of the terminal behind standard error: its loss, scores, layers and findings.
    /// Where standard error is no terminal, nothing is shown. It takes the place of a progress bar.
    #[cfg(feature = "dashboard")]
    pub fn dashboard(self) -> Self {
        Self { dashboard: Some(Dashboard::default()), ..self }
    }

    /// Ends the run at the very step whose gradients are not all finite, before they reach the parameters: one more reading
    /// of the gradients in every step.
    pub fn check_gradients(self) -> Self {
        Self { checks_gradients: true, ..self }
    }

    /// Adds a figure to the report, such as one of the data or of what preflight found.
    pub fn figure(mut self, figure: Figure) -> Self {
        self.extra.push(figure);
        self
    }

    /// Adds figures to the report.
    pub fn figures(mut self, figures: impl IntoIterator<Item = Figure>) -> Self {
        self.extra.extend(figures);
        self
    }

    fn watch_next(&mut self, run: &mut Run) {
        let next = run.progress.step + 1;
        if next == 1 || next.is_multiple_of(self.every) {
            let recorder = Arc::new(Recorder::default());
            run.watch_next_step(recorder.clone());
            self.watching = Some((next, recorder));
        }
        if self.checks_gradients {
            run.watch_next_step(Arc::new(GradientCheck));
        }
    }

    fn watch_validation(&mut self, run: &mut Run) {
        // The layers of the first validation are looked at, too: none of them may drop out.
        let probe = Arc::new(AnswerProbe::new(self.record.answers.is_empty()));
        run.watch_next_validation(probe.clone());
        self.answers = Some(probe);
    }

    fn finish_step(&mut self, run: &mut Run, report: &StepReport) -> Result<()> {
        let Some((_, recorder)) = self.watching.take_if(|(step, _)| *step == run.progress.step) else { return Ok(()) };
        let recorded = recorder.finish(run.params())?;
        let mut vitals = recorded.vitals;
        (vitals.step, vitals.epoch, vitals.loss) = (run.progress.step, run.progress.epoch, report.loss);
        vitals.learning_rate = report.values.iter().find(|(name, _)| name == "learning_rate").map(|(_, rate)| *rate);
        if self.record.network.params.is_empty() {
            self.record.network = recorded.network;
            self.write(&Line::Network(self.record.network.clone()))?;
        }
        if !recorded.shown.is_empty() {
            self.shown = recorded.shown;
        }
        if let Some(events) = &mut self.events {
            events.vitals(&vitals)?;
        }
        self.write(&Line::Vitals(vitals.clone()))?;
        self.record.vitals.push(vitals);
        if let Some(file) = &mut self.file
            && file.thin_if_long(&mut self.record)?
        {
            self.every = self.every.saturating_mul(2);
        }
        self.diagnose(run)
    }

    /// Tells what rules find for the first time.
    fn diagnose(&mut self, run: &mut Run) -> Result<()> {
        let new: Vec<Finding> = diagnose(&self.record)
            .into_iter()
            .filter(|finding| !self.record.findings.iter().any(|known| known.is_same(finding)))
            .collect();
        for finding in new {
            run.warn(finding.to_string());
            self.write(&Line::Finding(finding.clone()))?;
            self.record.findings.push(finding);
        }
        Ok(())
    }

    #[cfg(feature = "dashboard")]
    fn show(&mut self, run: &Run) {
        if let Some(dashboard) = &mut self.dashboard {
            dashboard.show(run, &self.record);
        }
    }

    #[cfg(not(feature = "dashboard"))]
    #[allow(clippy::unused_self)] // There is nothing to show it on.
    fn show(&mut self, _: &Run) {}

    fn write(&mut self, line: &Line) -> Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.append(line))
    }

    fn write_report(&mut self, run: &Run) -> Result<()> {
        #[cfg(feature = "dashboard")]
        self.dashboard.iter_mut().for_each(|dashboard| dashboard.end(run));
        if let Some(events) = &mut self.events {
            events.flush()?;
        }
        let views = Views::of(run.params(), &self.shown, self.mistakes.worst(), std::mem::take(&mut self.extra))?;
        views.save(run.dir.path())?;
        if !self.report {
            return Ok(());
        }
        // As the file has it, whose numbers have a few digits: the report can be made again to the same bytes.
        let record = Record { metrics: self.record.metrics.clone(), ..Record::read(run.dir.path())? };
        let report = Report::new(run.dir.path(), &record, &views);
        report.save(&run.dir.file("report.html"))
    }
}

impl Callback for Lens {
    fn name(&self) -> &'static str {
        "lens"
    }

    fn fit_start(&mut self, run: &mut Run) -> Result<()> {
        self.record =
            if run.resumed { Record::read_until(run.dir.path(), run.progress.step)? } else { Record::default() };
        self.record.metrics.steps_per_epoch = Some(run.progress.steps_per_epoch);
        self.file = Some(LensFile::create(run.dir.file("lens.jsonl"), &self.record)?);
        if self.tensorboard {
            self.events = Some(EventFile::create(run.dir.path(), run.progress.step)?);
        }
        let stores = run.params().iter().map(|(_, store)| store.clone()).collect();
        let replay: PathBuf = run.dir.file("first_non_finite.safetensors");
        run.watch_failure(Arc::new(FirstNonFinite::of(stores, Some(replay))));
        self.watch_next(run);
        self.watch_validation(run);
        #[cfg(feature = "dashboard")]
        self.dashboard.iter_mut().for_each(|dashboard| dashboard.start(run));
        Ok(())
    }

    fn batch_end(&mut self, run: &mut Run, report: &StepReport) -> Result<()> {
        self.record.metrics.push_step(run.progress.step, report);
        if let Some(events) = &mut self.events {
            events.step(run.progress.step, report)?;
        }
        self.finish_step(run, report)?;
        self.watch_next(run);
        self.show(run);
        Ok(())
    }

    fn validation_end(&mut self, run: &mut Run, scores: &Scores) -> Result<()> {
        self.record.metrics.push_validation(run.progress.step, scores);
        if let Some(events) = &mut self.events {
            events.scores(run.progress.step, scores)?;
        }
        if let Some(probe) = self.answers.take() {
            let (mistakes, dropping) = probe.take();
            let dropped = (!dropping.is_empty()).then(|| Answers { step: run.progress.step, ..Answers::default() });
            if let Some(mut answers) = mistakes.answers(run.progress.step).or(dropped) {
                answers.dropping = dropping;
                self.write(&Line::Answers(answers.clone()))?;
                self.record.answers.push(answers);
                self.mistakes = mistakes;
            }
        }
        self.watch_validation(run);
        self.diagnose(run)?;
        self.show(run);
        Ok(())
    }

    fn epoch_end(&mut self, run: &mut Run, loss: f64) -> Result<()> {
        self.record.metrics.push_epoch(run.progress.step, loss);
        Ok(())
    }

    fn fit_end(&mut self, run: &mut Run) -> Result<()> {
        self.diagnose(run)?;
        self.write_report(run)
    }

    fn fit_failed(&mut self, run: &mut Run, error: &Error) -> Result<()> {
        if error.non_finite().is_some() {
            let finding = Finding::new("non_finite", run.progress.step, error.to_string(), f64::NAN)
                .beyond("every number finite", "IEEE 754")
                .advise(
                    "A smaller learning rate or a clipped gradient where it grew; else the operation named here. \
                     `first_non_finite.safetensors` has the layer's inputs.",
                )
                .certainty(crate::rules::Certainty::Certain);
            self.write(&Line::Finding(finding.clone()))?;
            self.record.findings.push(finding);
        }
        self.write_report(run)
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("every", &self.every)?;
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        // A run that began without a lens has no state of it.
        self.every = state.value("every").unwrap_or(self.every);
        Ok(())
    }
}

/// Watches a validation's answers and, where asked to, whether a layer drops out.
struct AnswerProbe {
    layers: bool,
    seen: Mutex<(Mistakes, Vec<String>)>,
}

impl AnswerProbe {
    fn new(layers: bool) -> Self {
        Self { layers, seen: Mutex::default() }
    }

    fn take(&self) -> (Mistakes, Vec<String>) {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Probe for AnswerProbe {
    fn watches_layers(&self) -> bool {
        self.layers
    }

    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        if !seen.kind.contains("Dropout") || seen.input.dims() != seen.output.dims() {
            return Ok(());
        }
        let changed = (seen.input - seen.output)?.abs()?.flatten_all()?.max(0)?;
        if glassbox_core::TensorExt::to_f64(&changed)? > 0.0 {
            let mut found = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !found.1.iter().any(|path| path == seen.path) {
                found.1.push(seen.path.to_string());
            }
        }
        Ok(())
    }

    fn answer(&self, answer: &Answer<'_>) -> Result<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.update(answer.input, answer.outputs, answer.targets)
    }
}
