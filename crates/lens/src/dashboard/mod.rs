//! The run in a full-screen view of a terminal.
//!
//! Every frame is painted as a whole, so that a resized window and lines that something else prints are put right with the
//! next one. The terminal stays in its ordinary mode: Ctrl-C and everything else work as always.

mod draw;
mod screen;

use std::time::{Duration, Instant};

use glassbox_core::train::Run;

use crate::record::Record;
use draw::Status;
use screen::Screen;

/// At least so long between two frames.
const PAUSE: Duration = Duration::from_millis(200);

/// A view of the run on standard error, where that is a terminal; nothing elsewhere.
#[derive(Default)]
pub(crate) struct Dashboard {
    screen: Option<Screen>,
    drawn: Option<Instant>,
    /// Warnings that were there before; those of the run are repeated after it, since the view goes.
    warned: usize,
}

impl Dashboard {
    pub fn start(&mut self, run: &Run) {
        self.screen = Screen::open();
        self.warned = run.warnings().len();
    }

    /// Paints, unless it did so a moment ago.
    pub fn show(&mut self, run: &Run, record: &Record) {
        let Some(screen) = &mut self.screen else { return };
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE) {
            return;
        }
        self.drawn = Some(Instant::now());
        let status = Status::of(run);
        // A terminal that went away is no reason to end a run.
        if screen.paint(|area| draw::frame(&status, record, area)).is_err() {
            self.screen = None;
        }
    }

    /// Gives the terminal back.
    pub fn end(&mut self, run: &Run) {
        if self.screen.take().is_some() {
            run.warnings().iter().skip(self.warned).for_each(|warning| eprintln!("warning: {warning}"));
        }
    }
}
