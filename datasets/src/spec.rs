//! Data SPECs: one string that says which images.
//!
//! `KIND:PLACE[#SPLIT][@PORTION]` or `NAME[#SPLIT][@PORTION]`. PORTION is a share (`@0.1`, `@10%`)
//! or a count (`@5000`) of a class-balanced part; `@0.1:7` draws it with seed 7.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::suggestion;
use crate::format::cifar::{Cifar, Kind};
use crate::format::coco::Coco;
use crate::format::image_folder::ImageFolder;
use crate::format::segmentation::Segmentation;
use crate::format::webdataset::WebDataset;
use crate::generated::{Shapes, ShapesOptions};
use crate::known::{Found, KnownSet, Layout, known};
use crate::subset::{Portion, subset};
use crate::tree::FileTree;
use crate::{Dataset, Error, Result};

/// Where SPECs are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// The folder that holds known sets (`--data-root`, `HSSL_DATA`).
    pub data_root: Option<PathBuf>,
    /// The folder that relative paths start at: the config file's.
    pub relative_to: PathBuf,
}

const KINDS: [&str; 8] = [
    "imagefolder:DIR[#split]",
    "images:DIR[#split]",
    "cifar10:DIR[#split]",
    "cifar100:DIR[#split]",
    "tar:FILE[#folder]",
    "segmentation:DIR[#split]",
    "coco:DIR[#split]",
    "generated:shapes[?n=..&size=..&seed=..][#split]",
];

/// A SPEC taken apart.
struct Parts<'a> {
    spec: &'a str,
    /// `KIND:PLACE` or a name.
    source: &'a str,
    split: Option<&'a str>,
    portion: Option<(Portion, u64)>,
}

impl<'a> Parts<'a> {
    fn of(spec: &'a str) -> Result<Self> {
        // An `@` that no number follows belongs to a path, and so does one before a `/`.
        let is_portion = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && !text.contains('/')
        };
        let (rest, portion) = match spec.rsplit_once('@') {
            Some((rest, text)) if is_portion(text) => {
                let portion = parse_portion(text).ok_or_else(|| Error::BadSpec {
                    spec: spec.into(),
                    found: format!("`@{text}` is not a portion"),
                    expected: "write a share (@0.1, @10%) or a count (@5000), with a seed if \
                               wanted (@0.1:7)"
                        .into(),
                })?;
                (rest, Some(portion))
            }
            _ => (spec, None),
        };
        let (source, split) = match rest.rsplit_once('#') {
            Some((source, split)) => (source, Some(split).filter(|split| !split.is_empty())),
            None => (rest, None),
        };
        Ok(Self { spec, source, split, portion })
    }
}

fn parse_portion(text: &str) -> Option<(Portion, u64)> {
    let (amount, seed) = match text.split_once(':') {
        Some((amount, seed)) => (amount, seed.parse().ok()?),
        None => (text, 0),
    };
    let portion = if let Some(percent) = amount.strip_suffix('%') {
        Portion::Fraction(percent.parse::<f64>().ok()? / 100.0)
    } else if amount.contains('.') {
        Portion::Fraction(amount.parse().ok()?)
    } else {
        Portion::Count(amount.parse().ok()?)
    };
    Some((portion, seed))
}

/// Opens the data set that `spec` names.
///
/// # Errors
/// For a SPEC that is not understood, files that are not there and files that are not what the
/// SPEC says; each tells what to do.
pub fn open(spec: &str, roots: &Roots) -> Result<Arc<dyn Dataset>> {
    let parts = Parts::of(spec.trim())?;
    let dataset = match parts.source.split_once(':') {
        Some((kind, place)) => open_kind(&parts, kind, place, roots)?,
        None => match KnownSet::named(parts.source) {
            Some(set) => open_known(set, parts.split, roots)?,
            None => return Err(unknown(parts.source)),
        },
    };
    match parts.portion {
        Some((portion, seed)) => subset(dataset, portion, seed),
        None => Ok(dataset),
    }
}

/// `spec` with a relative path in it made absolute, starting at `folder`; a known set and a
/// generated one have no path.
pub fn absolute(spec: &str, folder: &Path) -> String {
    match spec.trim().split_once(':') {
        // Any other text before a colon is a known set's, and the colon a seed's: `cifar10@0.1:7`.
        Some((kind, place)) if is_kind(kind) && kind != "generated" && !place.is_empty() => {
            format!("{kind}:{}", folder.join(place).display())
        }
        _ => spec.to_owned(),
    }
}

/// Whether `word` is what a SPEC of files, or of images that are drawn, starts with.
fn is_kind(word: &str) -> bool {
    KINDS.iter().any(|known| known.split(':').next() == Some(word))
}

fn open_kind(
    parts: &Parts<'_>,
    kind: &str,
    place: &str,
    roots: &Roots,
) -> Result<Arc<dyn Dataset>> {
    let split = parts.split;
    if !is_kind(kind) {
        return Err(unknown(parts.source));
    }
    if place.is_empty() {
        return Err(Error::BadSpec {
            spec: parts.spec.into(),
            found: format!("nothing after `{kind}:`"),
            expected: KINDS
                .iter()
                .find(|known| known.starts_with(&format!("{kind}:")))
                .map_or_else(String::new, |known| format!("write {known}")),
        });
    }
    let path = roots.relative_to.join(place);
    Ok(match kind {
        "imagefolder" => {
            let (tree, split) = split_folder(&path, split)?;
            Arc::new(ImageFolder::open(tree, split)?)
        }
        "images" => {
            let (tree, split) = split_folder(&path, split)?;
            Arc::new(ImageFolder::open_unlabelled(tree, split)?)
        }
        "cifar10" => Arc::new(Cifar::open(&folder(&path)?, Kind::Cifar10, split)?),
        "cifar100" => Arc::new(Cifar::open(&folder(&path)?, Kind::Cifar100, split)?),
        "segmentation" => Arc::new(Segmentation::open(folder(&path)?, split)?),
        "coco" => Arc::new(Coco::open(folder(&path)?, split)?),
        "tar" => {
            let paths = braces(place).map_err(|found| Error::BadSpec {
                spec: parts.spec.into(),
                found,
                expected: "write shards as tar:DIR/shard-{0000..0009}.tar".into(),
            })?;
            let paths: Vec<_> = paths.iter().map(|path| roots.relative_to.join(path)).collect();
            let tree = FileTree::archives(&paths)?;
            if paths.len() > 1 || WebDataset::recognises(&tree) {
                Arc::new(WebDataset::open(tree)?)
            } else {
                Arc::new(ImageFolder::open(tree, split)?)
            }
        }
        _ => {
            let (name, query) = place.split_once('?').unwrap_or((place, ""));
            if name != "shapes" {
                return Err(unknown(parts.source));
            }
            Arc::new(Shapes::new(ShapesOptions::parse(parts.spec, query, split)?))
        }
    })
}

fn open_known(
    set: &'static KnownSet,
    split: Option<&str>,
    roots: &Roots,
) -> Result<Arc<dyn Dataset>> {
    let split = Some(set.split(split)?);
    let located = set.locate(roots.data_root.as_deref())?;
    let tree = match &located {
        Found::Folder(path) if set.layout == Layout::ImageFolder => {
            let (tree, split) = split_folder(path, split)?;
            return Ok(Arc::new(ImageFolder::open(tree, split)?));
        }
        Found::Folder(path) => folder(path)?,
        Found::Archive(path) => FileTree::archives(std::slice::from_ref(path))?,
    };
    Ok(match set.layout {
        Layout::ImageFolder => Arc::new(ImageFolder::open(tree, split)?),
        Layout::Cifar(kind) => Arc::new(Cifar::open(&tree, kind, split)?),
        Layout::Segmentation => Arc::new(Segmentation::open(tree, split)?),
        Layout::Coco => Arc::new(Coco::open(tree, split)?),
        Layout::Generated => unreachable!("generated sets have a kind"),
    })
}

/// The tree of a folder's split, without listing its other splits.
fn split_folder<'a>(path: &Path, split: Option<&'a str>) -> Result<(FileTree, Option<&'a str>)> {
    if let Some(split) = split
        && path.join(split).is_dir()
    {
        return Ok((FileTree::folder(&path.join(split))?, None));
    }
    Ok((folder(path)?, split))
}

fn folder(path: &Path) -> Result<FileTree> {
    if path.is_dir() {
        return FileTree::folder(path);
    }
    let fix = if path.is_file() {
        "it is a file: for an archive write tar:FILE"
    } else {
        "check the path (relative paths start at the config file's folder)"
    };
    Err(Error::Missing { what: "folder", path: path.to_owned(), fix: fix.into() })
}

/// `a-{00..02}.b` as `a-00.b`, `a-01.b`, `a-02.b`; anything else as it is.
fn braces(place: &str) -> Result<Vec<String>, String> {
    let Some((head, rest)) = place.split_once('{') else { return Ok(vec![place.to_owned()]) };
    let range = rest.split_once('}').and_then(|(range, tail)| {
        let (first, last) = range.split_once("..")?;
        let bounds = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        (bounds.0 <= bounds.1).then_some((bounds, first.len(), tail))
    });
    let ((first, last), digits, tail) =
        range.ok_or_else(|| format!("`{{{rest}` is not a range of shards"))?;
    Ok((first..=last).map(|number| format!("{head}{number:0digits$}{tail}")).collect())
}

fn unknown(source: &str) -> Error {
    let kinds = KINDS.iter().map(|kind| match kind.split_once(':') {
        Some((head, _)) => head,
        None => kind,
    });
    let (head, place) = source.split_once(':').unwrap_or((source, ""));
    let names: Vec<&str> = known().iter().map(|set| set.name).collect();
    let suggestion = if place.is_empty() {
        suggestion(source, names.iter().copied())
    } else {
        suggestion(head, kinds)
    };
    Error::UnknownSpec {
        spec: source.into(),
        suggestion,
        sets: names.join(", "),
        kinds: KINDS.join(", "),
    }
}
