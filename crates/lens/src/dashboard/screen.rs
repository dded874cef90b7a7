//! The terminal: taken for a while, and given back as it was, whatever happens.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, size,
};
use ratatui::crossterm::{cursor, execute, queue};
use ratatui::layout::Rect;

/// Whether the alternate screen is shown.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The alternate screen of the terminal behind standard error. Dropped, it is gone.
pub(super) struct Screen(());

impl Screen {
    /// Takes the terminal; none where there is no terminal, or where it is taken.
    pub fn open() -> Option<Self> {
        if !stderr().is_terminal() || size().is_err() || TAKEN.swap(true, Ordering::SeqCst) {
            return None;
        }
        give_back_after_a_panic();
        let screen = Self(());
        execute!(stderr(), EnterAlternateScreen, cursor::Hide).ok().map(|()| screen)
    }

    /// Paints what `frame` gives for the terminal's present size.
    pub fn paint(&mut self, frame: impl FnOnce(Rect) -> Buffer) -> std::io::Result<()> {
        if !TAKEN.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (width, height) = size()?;
        let buffer = frame(Rect::new(0, 0, width, height));
        // One write, so that what others print does not get in between.
        let mut bytes = Vec::with_capacity(1 << 15);
        queue!(bytes, BeginSynchronizedUpdate, cursor::Hide)?;
        let cells = buffer.content.iter().enumerate().map(|(i, cell)| {
            let (x, y) = buffer.pos_of(i);
            (x, y, cell)
        });
        CrosstermBackend::new(&mut bytes).draw(cells)?;
        queue!(bytes, EndSynchronizedUpdate)?;
        let mut terminal = stderr().lock();
        terminal.write_all(&bytes)?;
        terminal.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // There is nobody to tell.
        let _ = execute!(stderr(), LeaveAlternateScreen, cursor::Show);
    }
}

/// The message of a panic belongs on the ordinary screen.
fn give_back_after_a_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}
