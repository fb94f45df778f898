//! CIFAR's official binary layout: records of one label byte (CIFAR-100: two, coarse and fine) and
//! 3,072 pixel bytes, 1,024 red, 1,024 green, 1,024 blue, row by row (Krizhevsky, 2009).

use crate::dataset::{Fingerprint, counts};
use crate::tree::{FileTree, join};
use crate::{Dataset, Error, Image, Result, Sample};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Which of the two sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Cifar10,
    Cifar100,
}

impl Kind {
    /// The folder in the official archive.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10-batches-bin",
            Self::Cifar100 => "cifar-100-binary",
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn files(self, split: &str) -> Vec<String> {
        match (self, split) {
            (Self::Cifar10, "train") => (1..=5).map(|n| format!("data_batch_{n}.bin")).collect(),
            (Self::Cifar10, _) => vec!["test_batch.bin".into()],
            (Self::Cifar100, split) => vec![format!("{split}.bin")],
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    fn class_count(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }
}

const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

pub(crate) struct Cifar {
    kind: Kind,
    place: String,
    split: String,
    classes: Vec<String>,
    /// File name, its records.
    files: Vec<(String, Vec<u8>)>,
    /// Number of the first image of each file.
    starts: Vec<usize>,
    len: usize,
}

impl Cifar {
    pub(crate) fn open(tree: &FileTree, kind: Kind, split: Option<&str>) -> Result<Self> {
        let split = match split {
            None | Some("train") => "train",
            Some("test" | "val") => "test",
            Some(other) => {
                return Err(Error::UnknownSplit {
                    set: tree.place().into(),
                    split: other.into(),
                    suggestion: crate::error::suggestion(other, ["train", "test"].into_iter()),
                    available: "train, test (val is test)".into(),
                });
            }
        };
        let wanted = kind.files(split);
        let folder = ["", kind.folder()]
            .into_iter()
            .find(|folder| tree.contains(&join(folder, &wanted[0])))
            .ok_or_else(|| Error::Layout {
                place: tree.place().into(),
                found: format!(
                    "no {} (there is {})",
                    wanted[0],
                    super::image_folder::listed(&tree.children(""), "nothing")
                ),
                expected: format!(
                    "CIFAR's binary version: {} in it or in its {}/",
                    wanted.join(", "),
                    kind.folder()
                ),
            })?;
        let classes = class_names(tree, kind, folder)?;
        let record = kind.label_bytes() + 3 * PLANE;
        let (mut files, mut starts, mut len) = (Vec::new(), Vec::new(), 0);
        for file in wanted {
            let path = join(folder, &file);
            let bytes = tree.read(&path)?;
            if bytes.is_empty() || bytes.len() % record != 0 {
                return Err(Error::Format {
                    file: tree.name(&path),
                    found: format!(
                        "{} bytes: {} whole records and {} bytes of a cut one",
                        bytes.len(),
                        bytes.len() / record,
                        bytes.len() % record
                    ),
                    expected: format!(
                        "a multiple of {record} bytes; the file is truncated, fetch it again"
                    ),
                });
            }
            let label_at = kind.label_bytes() - 1;
            let bad = bytes
                .chunks_exact(record)
                .position(|record| usize::from(record[label_at]) >= kind.class_count());
            if let Some(number) = bad {
                return Err(Error::Format {
                    file: tree.name(&path),
                    found: format!(
                        "label {} in record {number}",
                        bytes[number * record + label_at]
                    ),
                    expected: format!(
                        "labels below {}; is this CIFAR's binary version?",
                        kind.class_count()
                    ),
                });
            }
            starts.push(len);
            len += bytes.len() / record;
            files.push((tree.name(&path), bytes));
        }
        let split = split.to_owned();
        Ok(Self { kind, place: tree.place().into(), split, classes, files, starts, len })
    }

    fn record(&self, index: usize) -> (&str, usize, &[u8]) {
        let file = self.starts.partition_point(|start| *start <= index) - 1;
        let number = index - self.starts[file];
        let size = self.kind.label_bytes() + 3 * PLANE;
        let (name, bytes) = &self.files[file];
        (name, number, &bytes[number * size..(number + 1) * size])
    }
}

fn class_names(tree: &FileTree, kind: Kind, folder: &str) -> Result<Vec<String>> {
    let path = join(folder, kind.names_file());
    if tree.contains(&path) {
        let names: Vec<String> = tree
            .read_text(&path)?
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        if names.len() == kind.class_count() {
            return Ok(names);
        }
        tracing::warn!(file = %tree.name(&path), names = names.len(), "odd number of class names");
    }
    Ok(match kind {
        Kind::Cifar10 => CIFAR10_CLASSES.map(str::to_owned).to_vec(),
        Kind::Cifar100 => (0..100).map(|class| class.to_string()).collect(),
    })
}

impl Dataset for Cifar {
    fn len(&self) -> usize {
        self.len
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<i64> {
        let (_, _, record) = self.record(index);
        Some(i64::from(record[self.kind.label_bytes() - 1]))
    }

    fn name(&self, index: usize) -> String {
        let (file, number, _) = self.record(index);
        format!("{file}[{number}]")
    }

    fn load(&self, index: usize) -> Result<Sample> {
        let (_, _, record) = self.record(index);
        let pixels = &record[self.kind.label_bytes()..];
        let (red, rest) = pixels.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        let mut image = Image::new(SIDE, SIDE);
        for (pixel, ((r, g), b)) in
            image.data.chunks_exact_mut(3).zip(red.iter().zip(green).zip(blue))
        {
            pixel.copy_from_slice(&[*r, *g, *b]);
        }
        Ok(Sample::labelled(image, self.label(index)))
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new(self.kind.folder());
        for index in 0..self.len {
            let (file, number, record) = self.record(index);
            let file = file.rsplit(['/', ':']).next().unwrap_or(file);
            let label = record[self.kind.label_bytes() - 1];
            fingerprint.add(&format!("{file}[{number}]"), record.len() as u64, Some(label.into()));
        }
        fingerprint.finish()
    }

    fn describe(&self) -> String {
        let counts = counts(self.len, self.classes.len());
        format!("{}, {} of {}: {counts}, 32x32", self.place, self.split, self.kind.folder())
    }
}
