//! Progress bars, log lines and Ctrl-C.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use hssl_engine::events::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Shows a run on the terminal and passes signals on.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
    quiet: bool,
}

#[derive(Default)]
struct State {
    training: Option<ProgressBar>,
    /// What an evaluation inside the run is doing.
    inner: Option<(String, ProgressBar)>,
    loss: Option<f64>,
}

impl Watcher {
    /// Listens for SIGINT and SIGTERM: the first asks the run to stop and save, the second kills.
    pub fn new(quiet: bool) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second handler only acts once the first one has set the flag.
            signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
                .context("cannot watch for signals")?;
            signal_hook::flag::register(signal, stop.clone()).context("cannot watch for signals")?;
        }
        Ok(Self { stop, state: Mutex::default(), quiet })
    }

    /// Prints a line above the bars.
    pub fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        let state = self.state.lock().unwrap_or_else(|p| p.into_inner());
        match &state.training {
            Some(bar) if !bar.is_hidden() => bar.println(text),
            _ => anstream::eprintln!("{text}"),
        }
    }

    /// Removes the bars.
    pub fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(|p| p.into_inner());
        if let Some((_, bar)) = state.inner.take() {
            bar.finish_and_clear();
        }
        if let Some(bar) = state.training.take() {
            bar.finish_and_clear();
        }
    }

    fn bar(&self, total: usize, template: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total as u64);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }
}

fn numbers(metrics: &std::collections::BTreeMap<String, f64>) -> String {
    let shown = metrics.iter().map(|(name, value)| format!("{name} {value:.4}"));
    shown.collect::<Vec<_>>().join(", ")
}

impl Observer for Watcher {
    fn event(&self, event: &Event) {
        match event {
            Event::Started { folder, summary, steps, done } => {
                self.line(&format!("{summary}\nrun: {}", folder.display()));
                let bar = self.bar(
                    *steps,
                    "{msg} [{bar:30}] {pos}/{len} steps, {elapsed} elapsed, {eta} left",
                );
                bar.set_position(*done as u64);
                bar.reset_eta();
                self.state.lock().unwrap_or_else(|p| p.into_inner()).training = Some(bar);
            }
            Event::Step { epoch, epochs, step, images_per_s, wait, metrics } => {
                let mut state = self.state.lock().unwrap_or_else(|p| p.into_inner());
                if let Some(loss) = metrics.as_ref().and_then(|metrics| metrics.get("loss")) {
                    state.loss = Some(*loss);
                }
                let loss = state.loss.map_or_else(String::new, |loss| format!(" loss {loss:.3}"));
                if let Some(bar) = &state.training {
                    bar.set_position(*step as u64);
                    bar.set_message(format!(
                        "epoch {}/{epochs}{loss} {images_per_s:.0} images/s, {:.0} % waiting for data",
                        epoch + 1,
                        100.0 * wait
                    ));
                }
            }
            Event::Evaluated { epoch, metrics } => {
                let mut state = self.state.lock().unwrap_or_else(|p| p.into_inner());
                if let Some((_, bar)) = state.inner.take() {
                    bar.finish_and_clear();
                }
                let loss = state.loss.map_or_else(String::new, |loss| format!("loss {loss:.4}, "));
                drop(state);
                self.line(&format!("epoch {}: {loss}{}", epoch + 1, numbers(metrics)));
            }
            Event::Saved { folder } => tracing::debug!("saved {}", folder.display()),
            Event::Progress { text, done, total } => {
                let mut state = self.state.lock().unwrap_or_else(|p| p.into_inner());
                let title = text.split(',').next().unwrap_or_default().to_owned();
                if state.inner.as_ref().is_none_or(|(known, _)| *known != title) {
                    if let Some((_, bar)) = state.inner.take() {
                        bar.finish_and_clear();
                    }
                    let bar = self.bar(*total, "{msg} [{bar:30}] {pos}/{len}, {eta} left");
                    state.inner = Some((title, bar));
                }
                if let Some((_, bar)) = &state.inner {
                    bar.set_message(text.clone());
                    bar.set_position(*done as u64);
                    if done >= total {
                        bar.finish_and_clear();
                    }
                }
            }
            Event::Warning(text) => self.line(&format!("warning: {text}")),
        }
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
