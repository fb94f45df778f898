//! Study files: what varies, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use toml::{Table, Value};

use crate::options::assignments;

/// The key of an axis that tables average over unless it says otherwise.
const SEED: &str = "train.seed";
/// Studies that extend each other.
const LONGEST_CHAIN: usize = 8;

/// A grid of compositions, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// A study that this one takes after; relative to this file.
    extends: Option<PathBuf>,
    config: Option<PathBuf>,
    suite: Option<PathBuf>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    axes: Vec<Axis>,
    #[serde(default)]
    exclude: Vec<BTreeMap<String, String>>,
}

/// A grid of compositions.
#[derive(Debug)]
pub struct StudyFile {
    /// Configuration that runs start from, unless a choice names another.
    pub config: PathBuf,
    /// Evaluations of every run, in place of the configuration's.
    pub suite: Option<PathBuf>,
    /// Keys that are set for every run; a later one wins.
    sets: Vec<Table>,
    /// What varies; the last axis fastest.
    axes: Vec<Axis>,
    /// Combinations that are left out: choices by axis.
    exclude: Vec<BTreeMap<String, String>>,
}

/// One thing that varies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Axis {
    name: String,
    /// A key of the configuration, with `values`.
    key: Option<String>,
    #[serde(default)]
    values: Vec<Value>,
    /// Or choices that set any keys.
    #[serde(default)]
    choices: Vec<Choice>,
    /// Whether tables show the mean over this axis.
    average: Option<bool>,
}

/// One of the choices of an axis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    name: String,
    /// Configuration that its runs start from, in place of the study's; relative to the study file.
    config: Option<PathBuf>,
    #[serde(default)]
    set: Table,
}

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Name of its folder.
    pub name: String,
    /// Its choice of each axis, in the study's order.
    pub choices: Vec<String>,
    /// Configuration that it starts from.
    pub config: PathBuf,
    /// `KEY=VALUE` as `--set` takes them.
    pub sets: Vec<String>,
}

/// A study, laid out.
#[derive(Debug)]
pub struct Plan {
    /// Names of the axes, and whether tables average over them.
    pub axes: Vec<(String, bool)>,
    /// Its runs.
    pub members: Vec<Member>,
}

impl StudyFile {
    /// Reads it, over the study that it extends; paths become relative to where the process runs.
    ///
    /// # Errors
    /// It cannot be read, or is no study.
    pub fn read(path: &Path) -> Result<Self> {
        let mut layers: Vec<(PathBuf, Written)> = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            ensure!(
                layers.len() < LONGEST_CHAIN,
                "{} extends itself, or too many others",
                layers[0].0.display()
            );
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the study {}", path.display()))?;
            let written: Written =
                toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
            let folder = path.parent().unwrap_or(Path::new(""));
            next = written.extends.as_ref().map(|other| folder.join(other));
            layers.push((path, written));
        }
        Self::of(layers.into_iter().rev()).with_context(|| format!("{}", path.display()))
    }

    /// Lays studies over each other: paths and axes take the place of former ones, keys and exclusions are
    /// added.
    fn of(layers: impl Iterator<Item = (PathBuf, Written)>) -> Result<Self> {
        let (mut config, mut suite) = (None, None);
        let (mut sets, mut axes, mut exclude) = (Vec::new(), Vec::<Axis>::new(), Vec::new());
        for (path, written) in layers {
            let folder = path.parent().unwrap_or(Path::new(""));
            config = written.config.map(|config| folder.join(config)).or(config);
            suite = written.suite.map(|suite| folder.join(suite)).or(suite);
            sets.push(written.set);
            exclude.extend(written.exclude);
            // Names are compared with the studies below alone, so that two of a name in one are an error.
            let below = axes.len();
            for mut axis in written.axes {
                for choice in &mut axis.choices {
                    choice.config = choice.config.take().map(|config| folder.join(config));
                }
                match axes[..below].iter_mut().find(|known| known.name == axis.name) {
                    Some(former) => *former = axis,
                    None => axes.push(axis),
                }
            }
        }
        let Some(config) = config else {
            bail!("a study needs `config`, what every run starts from")
        };
        Ok(Self { config, suite, sets, axes, exclude })
    }

    /// Every combination of choices that is not excluded.
    ///
    /// # Errors
    /// An axis has no choices, or two of a name; `exclude` names what there is not; nothing is left.
    pub fn plan(&self) -> Result<Plan> {
        ensure!(!self.axes.is_empty(), "a study needs [[axes]], what varies between its runs");
        let axes: Vec<Vec<Choice>> = self.axes.iter().map(Axis::choices).collect::<Result<_>>()?;
        let names: BTreeSet<&str> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
        ensure!(names.len() == self.axes.len(), "two axes have the same name");
        self.check_excluded(&axes)?;
        let mut combinations: Vec<Vec<&Choice>> = vec![Vec::new()];
        for choices in &axes {
            let mut longer = Vec::with_capacity(combinations.len() * choices.len());
            for former in &combinations {
                longer.extend(choices.iter().map(|choice| [former.as_slice(), &[choice]].concat()));
            }
            combinations = longer;
        }
        let mut members = Vec::new();
        for combination in combinations {
            if self.exclude.iter().any(|excluded| self.is(&combination, excluded)) {
                continue;
            }
            let sets = self.sets.iter().chain(combination.iter().map(|one| &one.set));
            let choices: Vec<String> = combination.iter().map(|one| one.name.clone()).collect();
            let name = choices.iter().map(|name| as_file_name(name)).collect::<Vec<_>>().join("-");
            let configs: Vec<_> =
                combination.iter().filter_map(|one| one.config.as_ref()).collect();
            ensure!(
                configs.len() < 2,
                "the run {name} starts from two configurations: {configs:?}"
            );
            members.push(Member {
                name,
                choices,
                config: configs.first().map_or(&self.config, |config| config).clone(),
                sets: sets.flat_map(assignments).collect(),
            });
        }
        ensure!(!members.is_empty(), "`exclude` leaves no run of the study");
        let folders: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
        ensure!(folders.len() == members.len(), "two choices have names that make the same folder");
        let axes = self.axes.iter().map(|axis| (axis.name.clone(), axis.averages())).collect();
        Ok(Plan { axes, members })
    }

    fn check_excluded(&self, axes: &[Vec<Choice>]) -> Result<()> {
        for (axis, choice) in self.exclude.iter().flatten() {
            let Some(index) = self.axes.iter().position(|known| known.name == *axis) else {
                let known: Vec<&str> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
                bail!("exclude names the axis {axis:?}; there are {}", known.join(", "));
            };
            if !axes[index].iter().any(|known| known.name == *choice) {
                let known: Vec<&str> =
                    axes[index].iter().map(|known| known.name.as_str()).collect();
                bail!(
                    "exclude names {choice:?} of the axis {axis}; there are {}",
                    known.join(", ")
                );
            }
        }
        Ok(())
    }

    fn is(&self, combination: &[&Choice], excluded: &BTreeMap<String, String>) -> bool {
        let chosen = |axis: &str| {
            let index = self.axes.iter().position(|known| known.name == axis);
            index.map(|index| combination[index].name.as_str())
        };
        !excluded.is_empty()
            && excluded.iter().all(|(axis, choice)| chosen(axis) == Some(choice.as_str()))
    }
}

impl Axis {
    fn choices(&self) -> Result<Vec<Choice>> {
        let name = &self.name;
        let choices = match (&self.key, self.values.as_slice(), self.choices.as_slice()) {
            (Some(key), [_, ..], []) => {
                let choice = |value: &Value| Choice {
                    name: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
                    config: None,
                    set: Table::from_iter([(key.clone(), value.clone())]),
                };
                self.values.iter().map(choice).collect()
            }
            (None, [], [_, ..]) => self.choices.clone(),
            _ => bail!(
                "the axis {name:?} needs either `key` with `values`, or `choices`, each with a \
                 `name` and what it sets"
            ),
        };
        let names: BTreeSet<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
        ensure!(
            names.len() == choices.len(),
            "two choices of the axis {name:?} have the same name"
        );
        Ok(choices)
    }

    fn averages(&self) -> bool {
        self.average.unwrap_or(self.key.as_deref() == Some(SEED))
    }
}

/// A choice's name as part of a folder's or file's.
pub fn as_file_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "._+".contains(c) { c } else { '_' };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(text: &str) -> StudyFile {
        let written = toml::from_str(&format!("config = \"a.toml\"\n{text}")).unwrap();
        StudyFile::of([(PathBuf::new(), written)].into_iter()).unwrap()
    }

    const GRID: &str = r#"
        set = { train.epochs = 2 }
        [[axes]]
        name = "head"
        choices = [
            { name = "none", set = { heads = {}, hssl.supervision = "none" } },
            { name = "convnext", set = { heads.aux = { plugin = "convnext", depth = 1 } } },
        ]
        [[axes]]
        name = "seed"
        key = "train.seed"
        values = [0, 1]
    "#;

    #[test]
    fn every_combination_is_a_run_with_its_settings() {
        let plan = study(GRID).plan().unwrap();
        assert_eq!(plan.axes, [("head".to_owned(), false), ("seed".to_owned(), true)]);
        let names: Vec<&str> = plan.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["none-0", "none-1", "convnext-0", "convnext-1"]);
        assert_eq!(
            plan.members[0].sets,
            ["train.epochs=2", "heads={}", "hssl.supervision=\"none\"", "train.seed=0"]
        );
        assert_eq!(
            plan.members[3].sets,
            [
                "train.epochs=2",
                "heads.aux.depth=1",
                "heads.aux.plugin=\"convnext\"",
                "train.seed=1"
            ]
        );
    }

    #[test]
    fn a_choice_may_start_from_another_configuration() {
        let axis = "[[axes]]\nname = \"method\"\nchoices = [{ name = \"a\" }, { name = \"b\", config = \"b.toml\" }]";
        let plan = study(axis).plan().unwrap();
        let configs: Vec<&Path> = plan.members.iter().map(|one| one.config.as_path()).collect();
        assert_eq!(configs, [Path::new("a.toml"), Path::new("b.toml")]);
        let twice = axis.replace("\"method\"", "\"again\"");
        let error = study(&format!("{axis}\n{twice}")).plan().unwrap_err().to_string();
        assert!(error.contains("b-b") && error.contains("two configurations"), "{error}");
    }

    #[test]
    fn what_is_excluded_does_not_run() {
        let excluded = "[[exclude]]\nhead = \"none\"\nseed = \"1\"";
        let plan = study(&format!("{GRID}\n{excluded}")).plan().unwrap();
        let names: Vec<&str> = plan.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["none-0", "convnext-0", "convnext-1"]);
    }

    #[test]
    fn a_study_takes_after_the_one_that_it_extends() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let whole = format!("config = \"base.toml\"\nsuite = \"suite.toml\"\n{GRID}");
        write("whole/study.toml", &whole);
        let quick = "extends = \"../whole/study.toml\"\nconfig = \"base.toml\"\nset.train.epochs = 1\n\
                     [[axes]]\nname = \"seed\"\nkey = \"train.seed\"\nvalues = [7]";
        let study = StudyFile::read(&write("quick/study.toml", quick)).unwrap();
        assert_eq!(study.config, folder.path().join("quick/base.toml"));
        assert_eq!(study.suite, Some(folder.path().join("quick/../whole/suite.toml")));
        let plan = study.plan().unwrap();
        let names: Vec<&str> = plan.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["none-7", "convnext-7"]);
        assert_eq!(plan.members[0].sets[..2], ["train.epochs=2", "train.epochs=1"]);

        let circle = write("circle.toml", "extends = \"circle.toml\"");
        let error = StudyFile::read(&circle).unwrap_err().to_string();
        assert!(error.contains("circle.toml extends itself"), "{error}");
        let error = StudyFile::read(&write("no.toml", "axes = []")).unwrap_err();
        assert!(format!("{error:#}").contains("`config`"), "{error:#}");
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str, word: &str| {
            let error = study(text).plan().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refused("", "[[axes]]");
        refused("[[axes]]\nname = \"seed\"\nkey = \"train.seed\"", "\"seed\"");
        refused(
            "[[axes]]\nname = \"x\"\nchoices = [{ name = \"a\" }, { name = \"a\" }]",
            "same name",
        );
        refused(&format!("{GRID}\n[[exclude]]\nhaed = \"none\""), "head, seed");
        refused(&format!("{GRID}\n[[exclude]]\nhead = \"swin\""), "none, convnext");
        refused(
            &format!("{GRID}\n[[exclude]]\nhead = \"none\"\n[[exclude]]\nhead = \"convnext\""),
            "no run",
        );
    }
}
