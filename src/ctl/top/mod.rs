//! `top`: who connects at this moment, on one screen that follows.
//!
//! [`follow`] tells what happens, [`model`] counts it, [`view`] knows what a person chose to see, and [`draw`] shows that.

mod draw;
mod follow;
mod model;
mod view;

use std::io::{self, IsTerminal, stdout};
use std::time::Duration;

use crossterm::event::{Event as Typed, EventStream};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::interval;

use draw::{News, Scene};
use follow::Told;
use model::Model;
use view::{Then, View};

use super::Failure;
use super::client::Session;
use super::filter::Filter;
use crate::proc::uptime_us;

/// How often the screen is drawn where nobody touches a key.
const DRAWN: Duration = Duration::from_secs(1);

/// Of how long before its start events are shown.
const BEFORE: Duration = Duration::from_secs(5 * 60);

/// What may wait to be counted. The rest waits on the bus, and the service counts what is too much.
const WAITING: usize = 256;

/// What is a connection; a socket that goes nowhere is none.
const CONNECTIONS: [&str; 3] = ["connect", "send", "accept"];

/// Runs it until somebody leaves.
pub(super) async fn run(session: &Session<'_>, filter: Filter) -> Result<(), Failure> {
    if session.look.as_json || !stdout().is_terminal() {
        return Err(Failure::Usage("top is for a terminal: 'watch' prints events as they are seen".to_owned()));
    }
    let wanted = filter.or_types(&CONNECTIONS).wanted(session.look.shown.clock.now())?;
    let started = u64::try_from(session.look.shown.clock.now().timestamp().as_microsecond()).unwrap_or(0);
    let since = started.saturating_sub(u64::try_from(BEFORE.as_micros()).unwrap_or(0));
    let (tell, mut told) = channel(WAITING);
    tokio::spawn(follow::follow(wanted, since, tell));
    // While the terminal is the shell's, a failure is a sentence and a code as of any command.
    let first = match told.recv().await {
        Some(Told::Away(failure)) => return Err(failure),
        first => first,
    };
    let mut top = Top {
        session,
        model: Model::new(since, uptime_us() / 1_000_000),
        view: View::default(),
        news: News { hides_rows: !session.sees_all(), ..News::default() },
    };
    first.into_iter().for_each(|told| top.take(told));
    let mut terminal = ratatui::try_init()?;
    let left = top.show(&mut terminal, &mut told).await;
    ratatui::restore();
    Ok(left?)
}

struct Top<'a> {
    session: &'a Session<'a>,
    model: Model,
    view: View,
    news: News,
}

impl Top<'_> {
    /// Draws, and takes what is told and typed, until somebody leaves.
    async fn show(&mut self, terminal: &mut DefaultTerminal, told: &mut Receiver<Told>) -> io::Result<()> {
        let mut typed = EventStream::new();
        let mut drawn = interval(DRAWN);
        let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        let [terminate, hangup] = &mut ends;
        loop {
            self.draw(terminal)?;
            // What is told is drawn at the next beat.
            let then = loop {
                tokio::select! {
                    typed = typed.next() => match typed {
                        Some(Ok(Typed::Key(key))) => {
                            let rows = self.model.rows(&self.view.choice, &self.session.look.shown);
                            break self.view.press(key, &rows);
                        }
                        Some(Ok(_)) => break Then::Draw,
                        Some(Err(error)) => return Err(error),
                        None => break Then::Leave,
                    },
                    happened = told.recv() => match happened {
                        Some(happened) => self.take(happened),
                        None => break Then::Leave,
                    },
                    _ = drawn.tick() => break Then::Draw,
                    _ = terminate.recv() => break Then::Leave,
                    _ = hangup.recv() => break Then::Leave,
                }
            };
            match then {
                Then::Draw => {}
                Then::Leave => return Ok(()),
                Then::Suspend => {
                    ratatui::restore();
                    kill_process(getpid(), Signal::TSTP)?;
                    *terminal = ratatui::try_init()?;
                }
            }
        }
    }

    fn take(&mut self, told: Told) {
        self.model.set_now(uptime_us() / 1_000_000);
        match told {
            Told::Here(before, there_is_more) => {
                // What came before is not all there: it is counted since the oldest that is.
                if let Some(oldest) = before.last().and_then(|event| event.timestamp).filter(|_| there_is_more) {
                    self.model.since = oldest;
                }
                self.model.begin_again();
                // The oldest first, as they happened.
                before.iter().rev().for_each(|event| self.model.remember(event));
                self.news.away = None;
            }
            Told::Seen(event) => self.model.see(&event),
            Told::Lost(count) => self.model.lost += count,
            Told::Fares(is_connected, loss) => {
                self.news.is_deaf = !is_connected;
                self.news.loss = loss;
            }
            Told::Away(failure) => self.news.away = Some(failure.to_string()),
        }
    }

    fn draw(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        self.model.set_now(uptime_us() / 1_000_000);
        let look = self.session.look;
        let rows = self.model.rows(&self.view.choice, &look.shown);
        let scene = Scene { model: &self.model, news: &self.news, shown: &look.shown, colours: look.colours };
        terminal.draw(|frame| draw::screen(frame, &scene, &rows, &mut self.view)).map(drop)
    }
}
