//! The terminal as a screen, for as long as it is held, and its keys.

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use std::io;
use tokio::sync::mpsc;

/// Keys that wait to be worked on.
const QUEUE: usize = 64;

/// The whole terminal. It is given back when this goes, and when the program panics.
pub struct Screen {
    /// To be drawn on.
    pub terminal: DefaultTerminal,
    /// What is typed; ends when nothing can be read any more.
    pub keys: mpsc::Receiver<Event>,
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none, or does not do what it is asked for.
    pub fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        let (send, keys) = mpsc::channel(QUEUE);
        std::thread::spawn(move || {
            loop {
                match event::read() {
                    Ok(event) => {
                        if send.blocking_send(event).is_err() {
                            return;
                        }
                    }
                    // A signal is no end of the keyboard.
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        Ok(Self { terminal, keys })
    }
}
