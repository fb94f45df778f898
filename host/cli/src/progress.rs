//! A run on the terminal: a bar where there is one, a line now and then where there is not, and
//! Ctrl-C that stops between two steps.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use hssl_engine::events::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::session::Session;
use crate::style;

/// Exit code of a run that was stopped, as shells give to what Ctrl-C ends.
pub const INTERRUPTED: u8 = 130;

/// Seconds between lines of a run without a terminal.
const LINE_SECONDS: u64 = 10;

/// Shows a run and listens for signals.
pub struct Progress<'a> {
    session: &'a Session,
    stop: Arc<AtomicBool>,
    terminal: bool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    run: Option<ProgressBar>,
    /// What goes on inside an evaluation, and its name.
    inner: Option<(String, ProgressBar)>,
    steps: usize,
    /// The latest losses.
    losses: String,
    line: Option<Instant>,
}

impl<'a> Progress<'a> {
    /// Shows a run of this session.
    pub fn new(session: &'a Session) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { session, stop: Arc::default(), terminal, shown: Mutex::default() }
    }

    /// The first SIGINT or SIGTERM asks for a stop after the step; the second ends the process.
    ///
    /// # Errors
    /// The system does not let us listen.
    pub fn listen(self) -> Result<Self> {
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(
                signal,
                i32::from(INTERRUPTED),
                self.stop.clone(),
            )?;
            signal_hook::flag::register(signal, self.stop.clone())?;
        }
        Ok(self)
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        let mut shown = self.shown();
        for bar in shown.run.take().into_iter().chain(shown.inner.take().map(|(_, bar)| bar)) {
            bar.finish_and_clear();
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(&self, total: usize, template: &str) -> ProgressBar {
        if self.session.global.quiet {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        self.session.bars.add(ProgressBar::new(total as u64).with_style(style))
    }

    fn step(&self, step: usize, epoch: (usize, usize), images_per_s: f64, wait: f64) {
        let mut shown = self.shown();
        let losses = &shown.losses;
        let pace = format!(
            "epoch {}/{}  {losses}{images_per_s:.0} images/s{}",
            epoch.0 + 1,
            epoch.1,
            waiting(wait)
        );
        if let Some(bar) = &shown.run {
            bar.set_position(step as u64);
            bar.set_message(pace.clone());
        }
        let patience = Duration::from_secs(LINE_SECONDS);
        let due = shown.line.is_none_or(|line| line.elapsed() >= patience) || step == shown.steps;
        if !self.terminal && due {
            shown.line = Some(Instant::now());
            self.session.say(&format!("step {step}/{}  {pace}", shown.steps));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Observer for Progress<'_> {
    fn event(&self, event: &Event) {
        match event {
            Event::Started { folder, summary, steps, done } => {
                self.session.say(summary);
                self.session.say(&format!("run folder: {}", folder.display()));
                let template = "{bar:24} {pos}/{len} {elapsed}<{eta}  {msg}";
                let bar = self.bar(*steps, template).with_position(*done as u64);
                bar.reset_eta();
                let mut shown = self.shown();
                shown.steps = *steps;
                shown.run = Some(bar);
            }
            Event::Step { epoch, epochs, step, images_per_s, wait, metrics } => {
                if let Some(metrics) = metrics {
                    self.shown().losses = losses(metrics);
                }
                self.step(*step, (*epoch, *epochs), *images_per_s, *wait);
            }
            Event::Evaluated { epoch, metrics } => {
                let numbers: Vec<String> =
                    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
                self.shown().inner.take().inspect(|(_, bar)| bar.finish_and_clear());
                self.session.say(&format!("epoch {}: {}", epoch + 1, numbers.join("  ")));
            }
            Event::Saved { folder } => tracing::debug!("saved {}", folder.display()),
            Event::Progress { text, done, total } => {
                let mut shown = self.shown();
                // What follows a comma changes while the work stays the same.
                let title = text.split(',').next().unwrap_or_default();
                if shown.inner.as_ref().is_none_or(|(former, _)| former != title) {
                    shown.inner.take().inspect(|(_, bar)| bar.finish_and_clear());
                    let bar = self.bar(*total, "{bar:24} {pos}/{len}  {msg}");
                    shown.inner = Some((title.to_owned(), bar));
                }
                if let Some((_, bar)) = &shown.inner {
                    bar.set_message(text.clone());
                    bar.set_length(*total as u64);
                    bar.set_position(*done as u64);
                }
            }
            Event::Warning(text) => self.session.warning(text),
        }
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The loss and its terms.
fn losses(metrics: &BTreeMap<String, f64>) -> String {
    let mut text = metrics.get("loss").map(|loss| format!("loss {loss:.4}")).unwrap_or_default();
    let faint = style::FAINT;
    let parts: Vec<String> = metrics
        .iter()
        .filter_map(|(name, value)| Some(format!("{} {value:.3}", name.strip_prefix("loss/")?)))
        .collect();
    if parts.len() > 1 {
        text += &format!(" {faint}({}){faint:#}", parts.join(", "));
    }
    if let Some(lr) = metrics.get("lr") {
        text += &format!("  lr {lr:.2e}  ");
    }
    text
}

/// Told where it is worth acting on: loading costs a noticeable share of the time.
fn waiting(share: f64) -> String {
    if share < 0.05 { String::new() } else { format!("  {:.0}% waiting for data", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_show_the_total_its_parts_and_the_rate() {
        let metrics = [("loss", 2.5), ("loss/a->b", 1.0), ("loss/b->b", 1.5), ("lr", 5e-4)];
        let text = losses(&metrics.map(|(name, value)| (name.to_owned(), value)).into());
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "loss 2.5000 (a->b 1.000, b->b 1.500)  lr 5.00e-4  ");
    }

    #[test]
    fn waiting_is_told_where_it_matters() {
        assert_eq!(waiting(0.01), "");
        assert_eq!(waiting(0.25), "  25% waiting for data");
    }
}
