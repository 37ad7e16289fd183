//! The terminal: had, drawn on, and given back however the program ends.

use super::look::{self, Seen, Wanted};
use super::model::Model;
use super::view::View;
use crate::node::Node;
use crate::terminal::Screen;
use ratatui::crossterm::event::{Event as TerminalEvent, KeyEventKind};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How often it is drawn though nothing happens: ages grow.
const TICK: Duration = Duration::from_secs(1);
/// What was seen and waits to be drawn; who looks waits too.
const QUEUE: usize = 256;

/// Shows them until somebody leaves.
///
/// # Errors
/// Of the terminal.
pub async fn run(nodes: Vec<Arc<Node>>, plain: bool) -> io::Result<()> {
    let mut ends =
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal).into_iter();
    let (Some(term), Some(hangup), Some(interrupt)) = (ends.next(), ends.next(), ends.next()) else {
        return Ok(());
    };
    let (mut term, mut hangup, mut interrupt) = (term?, hangup?, interrupt?);
    let mut model = Model::new(nodes.iter().map(|node| node.name().to_owned()));
    let mut view = View::new(plain);
    let (send, mut seen) = mpsc::channel::<(usize, Seen)>(QUEUE);
    let mut wants = Vec::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let (want, wanted) = watch::channel(Wanted { limit: 100, ..Wanted::default() });
        wants.push(want);
        tokio::spawn(look::look(node.clone(), index, wanted, send.clone()));
        tokio::spawn(look::listen(node, index, send.clone()));
    }
    let mut screen = Screen::open()?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let opened = view.open;
        screen.terminal.draw(|frame| view.draw(frame, &model, SystemTime::now()))?;
        tokio::select! {
            key = screen.keys.recv() => match key {
                Some(TerminalEvent::Key(key)) if key.kind != KeyEventKind::Release => {
                    if !view.key(key) {
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => return Ok(()),
            },
            Some((node, what)) = seen.recv() => {
                model.take(node, what, view.open);
                // What came meanwhile is drawn at once.
                while let Ok((node, what)) = seen.try_recv() {
                    model.take(node, what, view.open);
                }
            }
            _ = tick.tick() => {}
            _ = term.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
        if view.open != opened {
            (model.open, model.gone) = (None, false);
        }
        for (node, want) in wants.iter().enumerate() {
            let wanted = view.wanted(&model, node);
            want.send_if_modified(|now| std::mem::replace(now, wanted.clone()) != wanted);
        }
    }
}
