//! `hssl data fetch`
//!
//! The transfer itself is curl's: it is on every system, knows the proxies and certificates of the
//! machine, and resumes. What is ours is the check before the archive gets its name.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use hssl_datasets::{KnownSet, known};

use super::checksum::sha256;
use crate::session::Session;

/// Download a known set, or take its archive from a file; check it and put it in the data folder
///
/// An interrupted download goes on where it stopped. Archives stay packed; they are read as they
/// are.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl data fetch cifar10 --data-root ~/data
  hssl data fetch imagenette-160 --from /media/disk/imagenette-160.tar --data-root ~/data")]
pub struct Fetch {
    /// The set, see `hssl data list`
    name: String,
    /// Take the archive from this file instead of the network
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    from: Option<PathBuf>,
    /// Download it from here instead of its usual place
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Fetch {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let Some(set) = known().iter().find(|set| set.name == self.name) else {
            let names: Vec<&str> = known().iter().map(|set| set.name).collect();
            bail!("there is no set `{}`; known are {}", self.name, names.join(", "));
        };
        if set.archive.is_empty() {
            bail!("{} is drawn on the fly; there is nothing to fetch", set.name);
        }
        let root = super::data_root(session)?;
        let target = root.join(set.archive);
        if target.exists() {
            verify(&target, set, session)?;
            anstream::println!("{} is there already", target.display());
            return Ok(ExitCode::SUCCESS);
        }
        std::fs::create_dir_all(&root)
            .with_context(|| format!("cannot make {}", root.display()))?;
        let part = root.join(format!("{}.part", set.archive));
        match (&self.from, self.url.as_deref().or(set.url)) {
            (Some(file), _) => {
                // Checked first: a wrong file is not copied.
                verify(file, set, session)?;
                std::fs::copy(file, &part).with_context(|| {
                    format!("cannot copy {} to {}", file.display(), part.display())
                })?;
            }
            (None, Some(url)) => download(url, &part, session)?,
            (None, None) => bail!(
                "{} has no public address; get {} from who has it, then give it with --from FILE",
                set.name,
                set.archive
            ),
        }
        if let Err(error) = verify(&part, set, session) {
            // Going on from a wrong part would give a wrong archive again.
            std::fs::remove_file(&part)
                .with_context(|| format!("cannot remove {}", part.display()))?;
            return Err(error);
        }
        std::fs::rename(&part, &target)
            .with_context(|| format!("cannot rename {} to {}", part.display(), target.display()))?;
        anstream::println!("{}", target.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Downloads to `part`, going on where an earlier download stopped.
fn download(url: &str, part: &Path, session: &Session) -> Result<()> {
    session.say(&format!("downloading {url}"));
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--retry", "3", "--continue-at", "-", "--output"]);
    curl.arg(part);
    curl.arg(if session.global.quiet { "--silent" } else { "--progress-bar" });
    let status = curl.arg("--").arg(url).status().with_context(|| {
        format!(
            "cannot start curl, which does the download; install it, or download {url} yourself \
             and give it with --from FILE"
        )
    })?;
    if !status.success() {
        bail!(
            "the download of {url} failed ({status}); run the same command again to go on, or give \
             the archive with --from FILE"
        );
    }
    Ok(())
}

fn verify(path: &Path, set: &KnownSet, session: &Session) -> Result<()> {
    let Some(expected) = set.sha256 else {
        session.warning(&format!("no checksum is known for {}; it is taken as it is", set.name));
        return Ok(());
    };
    let found = sha256(path)?;
    if found != expected {
        bail!(
            "{} is not {}: its SHA-256 is {found}, expected {expected}; fetch it again",
            path.display(),
            set.archive
        );
    }
    Ok(())
}
