//! `hssl pretrain`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use hssl_engine::checkpoint;
use hssl_engine::events::{Event, Observer};
use hssl_engine::plugin::{LOCK_FILE, PluginLock};
use hssl_engine::run::RunFolder;
use hssl_engine::train::{Ending, Job, pretrain};

use crate::options::Sets;
use crate::progress::{INTERRUPTED, Progress};
use crate::session::{Session, run_folder, use_threads};

/// Train a backbone without labels
///
/// Ctrl-C and SIGTERM finish the step, save and exit; --resume goes on bit for bit. The run's
/// folder gets a copy of the plugins.lock that applies.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl pretrain configs/quick.toml
  hssl pretrain configs/quick.toml --set train.epochs=20 --set heads.aux.depth=1 --out runs/a
  hssl pretrain configs/quick.toml --out runs/a --resume
  hssl pretrain runs/a --resume")]
pub struct Pretrain {
    /// Configuration file, or with --resume the folder of a run
    pub(super) config: PathBuf,
    #[command(flatten)]
    pub(super) sets: Sets,
    /// Run folder; without it, `out` of the configuration, then a new folder below runs/
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Continue the run in the run folder, by the configuration it was started with; start it if it
    /// has no checkpoint yet
    #[arg(long)]
    pub(super) resume: bool,
}

impl Pretrain {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let mut plugins = session.plugins(Some(&self.config))?;
        let asked = run_folder(&self.config);
        if let Some(run) = asked.as_ref().filter(|_| !self.resume && self.out.is_none()) {
            bail!(
                "{} is a run; add --resume to continue it, or --out DIR to start another with its \
                 configuration",
                run.path().display()
            );
        }
        let mut resolved = session.resolve(&self.config, &self.sets.sets, &plugins)?;
        let folder = match (&self.out, asked) {
            (None, Some(run)) => run,
            (None, None) if self.resume && resolved.config.out.is_none() => bail!(
                "--resume: {} does not say which run to continue; name the run's folder in its \
                 place, or add --out DIR",
                self.config.display()
            ),
            (out, _) => RunFolder::for_new(&resolved.config, out.as_deref()),
        };
        let mut locked_by = self.config.as_path();
        // Without a checkpoint there is nothing to continue: a first attempt that failed is
        // repaired in the file.
        let begun = folder.config().is_file() && checkpoint::exists(&folder.last());
        if self.resume && begun && folder.path() != self.config {
            if folder.path().join(LOCK_FILE).exists() {
                locked_by = folder.path();
                plugins = session.plugins(Some(locked_by))?;
            }
            resolved = session.resolve(folder.path(), &self.sets.sets, &plugins)?;
        }
        use_threads(resolved.config.train.threads);
        let job = Job {
            config: &resolved.config,
            text: &resolved.to_toml()?,
            roots: &session.roots(Some(&resolved)),
            registry: &plugins,
            folder: folder.clone(),
            resume: self.resume,
        };
        let progress = Progress::new(session).listen()?;
        let lock = session.lock(Some(locked_by))?;
        let ending = pretrain(&job, &Watch { progress: &progress, lock })?;
        progress.finish();
        let path = quoted(folder.path());
        match ending {
            Ending::Finished => {
                anstream::println!("run       {}", folder.path().display());
                anstream::println!("backbone  {}", folder.backbone().display());
                anstream::println!("evaluate  hssl eval {path}");
                Ok(ExitCode::SUCCESS)
            }
            Ending::Interrupted => {
                anstream::println!("stopped and saved; resume with: hssl pretrain {path} --resume");
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    }
}

/// Shows a run, and puts the lock that applies to it into its folder once there is one.
struct Watch<'a> {
    progress: &'a Progress<'a>,
    lock: Option<PluginLock>,
}

impl Observer for Watch<'_> {
    fn event(&self, event: &Event) {
        self.progress.event(event);
        if let (Event::Started { folder, .. }, Some(lock)) = (event, &self.lock) {
            let copy = lock.copied_to(folder);
            if copy.path() != lock.path()
                && let Err(error) = copy.write()
            {
                let text = format!("the run goes on without a lock of its own: {error}");
                self.progress.event(&Event::Warning(text));
            }
        }
    }

    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn paths_are_quoted_where_a_shell_would_split_them() {
        let quote = |path: &str| quoted(path.as_ref());
        assert_eq!(quote("runs/a-1"), "runs/a-1");
        assert_eq!(quote("my runs"), "'my runs'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
