//! `hssl search`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hssl_engine::analysis::HeadReport;
use hssl_engine::checkpoint::replace_file;
use hssl_engine::config::Resolved;
use hssl_engine::plugin::Registry;
use hssl_engine::run::RunFolder;
use hssl_engine::train::DISCREPANCY;
use serde_json::Value;

use super::analyse::{HEADINGS, cells, reports};
use super::pretrain::Pretrain;
use crate::options::{Sets, assignments};
use crate::progress::Progress;
use crate::session::Session;
use crate::table;

/// Find the auxiliary head that differs most from the base
///
/// Trains all heads of the configuration at once beside each other, each paired with the base by
/// projections of its own (equations 6 and 7), on a part of the images; ranks them by the discrepancy D
/// between base and head (equation 5); and writes a configuration with the winner (equation 9).
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl search configs/searches/cifar10.toml
  hssl search mine.toml --fraction 0.1 --out runs/search
  hssl search mine.toml --out runs/search --resume      goes on after a stop
  hssl pretrain runs/search/winner.toml

Candidates are the configuration's heads:
  [heads.convnext]
  plugin = \"convnext\"
  depth = 1
  [heads.vit]
  plugin = \"vit\"
  depth = 1")]
pub struct Search {
    /// Configuration file with two or more heads
    config: PathBuf,
    #[command(flatten)]
    sets: Sets,
    /// Class-balanced share of the training images; 1: all
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    fraction: f64,
    /// Test images that D is measured on; 0: all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    images: usize,
    /// Folder of the search; without it, a new one below runs/
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the search in that folder
    #[arg(long, requires = "out")]
    resume: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0, at most 1".into()),
    }
}

impl Search {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = session.plugins(Some(&self.config))?;
        let asked = session.resolve(&self.config, &self.sets.sets, &plugins)?;
        let config = &asked.config;
        ensure!(
            config.heads.len() > 1,
            "{}: a search compares heads, and there {}; add [heads.NAME] sections",
            self.config.display(),
            if config.heads.is_empty() { "is none" } else { "is one" }
        );
        let mut sets = self.sets.sets.clone();
        sets.extend(["hssl.supervision=\"search\"".into(), "eval.online_every=1".into()]);
        if self.fraction < 1.0 {
            let train = &config.data.train;
            if train.contains('@') {
                bail!("data.train is a part already, {train}; add --fraction 1 to search on it");
            }
            let part = format!("{train}@{}:{}", self.fraction, config.train.seed);
            sets.push(format!("data.train={}", toml::Value::from(part)));
        }
        let searching = session.resolve(&self.config, &sets, &plugins)?;
        ensure!(
            searching.config.data.eval_test.is_some(),
            "{}: D is measured on test images; set data.eval_test",
            self.config.display()
        );
        let folder = RunFolder::for_new(&searching.config, self.out.as_deref());
        let training = Pretrain {
            config: self.config.clone(),
            sets: Sets { sets },
            out: Some(folder.path().to_owned()),
            resume: self.resume,
        };
        let ending = training.run(session)?;
        if ending != ExitCode::SUCCESS {
            return Ok(ending);
        }
        let progress = Progress::new(session).listen()?;
        let ranking = reports(session, &folder, &searching, &plugins, self.images, &progress)?;
        progress.finish();
        print(&searching, &ranking);
        let leads = leads(&folder.metrics())?;
        if let Some((since, of)) = leads.filter(|(since, of)| since < of) {
            session.say(&format!(
                "the order of the heads is the same since evaluation {since} of {of}"
            ));
        } else {
            session.warning(
                "the order of the heads changed to the last evaluation; train longer, or on more \
                 images, before you trust it",
            );
        }
        let Some(winner) = ranking.first().filter(|first| first.comparison.discrepancy.is_some())
        else {
            bail!(
                "{} gives images no probabilities, so that there is no D",
                config.objective.plugin
            )
        };
        let path = folder.path().join("winner.toml");
        self.write_winner(session, &asked, &plugins, &winner.name, &path)?;
        anstream::println!("winner    {}", winner.name);
        anstream::println!("pretrain  hssl pretrain {}", path.display());
        Ok(ExitCode::SUCCESS)
    }

    /// The configuration with no other head, ready to train.
    fn write_winner(
        &self,
        session: &Session,
        asked: &Resolved,
        plugins: &Registry,
        winner: &str,
        path: &Path,
    ) -> Result<()> {
        let section = toml::Table::try_from(&asked.config.heads[winner]).context("the winner")?;
        let mut sets = self.sets.sets.clone();
        sets.extend(["heads={}".into(), "hssl.supervision=\"hssl\"".into()]);
        let keys = assignments(&section).into_iter();
        sets.extend(keys.map(|assignment| format!("heads.{winner}.{assignment}")));
        let resolved = session.resolve(&self.config, &sets, plugins)?;
        Ok(replace_file(path, resolved.to_toml()?.as_bytes())?)
    }
}

fn print(searching: &Resolved, ranking: &[HeadReport]) {
    let mut rows = table::numbers(["HEAD", "PLUGIN"].into_iter().chain(HEADINGS));
    for report in ranking {
        let plugin = searching.config.heads[&report.name].plugin.clone();
        rows.add_row([report.name.clone(), plugin].into_iter().chain(cells(report)));
    }
    table::print(&rows);
}

/// Since which evaluation the heads have the order that they have in the last, and how many there are,
/// counted from 1.
fn leads(metrics: &Path) -> Result<Option<(usize, usize)>> {
    let text = std::fs::read_to_string(metrics)
        .with_context(|| format!("cannot read {}", metrics.display()))?;
    let order = |line: &str| {
        let line: BTreeMap<String, Value> = serde_json::from_str(line).ok()?;
        let value = |(name, value): (&String, &Value)| {
            Some((value.as_f64()?, name.strip_prefix(DISCREPANCY)?.to_owned()))
        };
        let mut heads: Vec<(f64, String)> = line.iter().filter_map(value).collect();
        heads.sort_by(|a, b| b.0.total_cmp(&a.0));
        let names: Vec<String> = heads.into_iter().map(|(_, name)| name).collect();
        (!names.is_empty()).then_some(names)
    };
    let orders: Vec<Vec<String>> = text.lines().filter_map(order).collect();
    let Some(last) = orders.last() else { return Ok(None) };
    let other = orders.iter().rposition(|order| order != last);
    Ok(Some((other.map_or(1, |index| index + 2), orders.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_followed_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = |a: f64, b: f64| {
            format!("{{\"step\":1,\"{DISCREPANCY}a\":{a},\"{DISCREPANCY}b\":{b}}}\n")
        };
        let lines = [line(1.0, 2.0), "{\"loss\":3.0}\n".into(), line(2.0, 1.0), line(3.0, 1.0)];
        std::fs::write(&path, lines.concat()).unwrap();
        assert_eq!(leads(&path).unwrap(), Some((2, 3)));
        std::fs::write(&path, [line(1.0, 2.0), line(2.0, 1.0)].concat()).unwrap();
        assert_eq!(leads(&path).unwrap(), Some((2, 2)));
        std::fs::write(&path, "").unwrap();
        assert_eq!(leads(&path).unwrap(), None);
    }
}
