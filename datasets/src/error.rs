//! What can go wrong between a data SPEC and a batch, told with what was found and what to do.

use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a data set could not be opened, an image not decoded or a batch not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The SPEC is neither a known kind nor a known set.
    #[error("unknown data set `{spec}`{suggestion}. Known sets: {sets}. Or name files: {kinds}")]
    UnknownSpec {
        /// The SPEC as written.
        spec: String,
        /// `: did you mean ...?`, or nothing.
        suggestion: String,
        /// The registered sets.
        sets: String,
        /// The kinds a SPEC may start with.
        kinds: String,
    },
    /// The SPEC names a kind or set but is written wrongly.
    #[error("data set `{spec}`: {found}; {expected}")]
    BadSpec {
        /// The SPEC as written.
        spec: String,
        /// What is wrong.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A known set is not on this machine.
    #[error("data set `{name}` was not found. Looked for: {looked_for}. {how_to_get}")]
    NotInstalled {
        /// The known set.
        name: String,
        /// Every path tried.
        looked_for: String,
        /// What to do.
        how_to_get: String,
    },
    /// A file or folder of a SPEC does not exist.
    #[error("{what} `{path}` does not exist; {fix}", path = .path.display())]
    Missing {
        /// `folder`, `archive`, ...
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        fix: String,
    },
    /// A split that the set does not have.
    #[error("{set} has no split `{split}`{suggestion}; it has {available}")]
    UnknownSplit {
        /// The set.
        set: String,
        /// The split asked for.
        split: String,
        /// `: did you mean ...?`, or nothing.
        suggestion: String,
        /// The splits there are.
        available: String,
    },
    /// A folder, archive or subset without what a data set needs.
    #[error("{place}: {found}; expected {expected}")]
    Layout {
        /// The folder or archive.
        place: String,
        /// What is there.
        found: String,
        /// What should be there, and the fix.
        expected: String,
    },
    /// A file whose content does not follow its format.
    #[error("{file}: {found}; expected {expected}")]
    Format {
        /// The file, or the archive's member.
        file: String,
        /// What is wrong.
        found: String,
        /// What the format wants.
        expected: String,
    },
    /// An image that cannot be decoded.
    #[error("image {name} cannot be decoded ({size} bytes): {reason}")]
    Decode {
        /// The image.
        name: String,
        /// Bytes read.
        size: usize,
        /// The decoder's words.
        reason: String,
    },
    /// The operating system refused a read or a write.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// `read`, `write`, `list`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Drop-last leaves no batch.
    #[error(
        "batch size {batch_size} is larger than the {images} images of {set}{share}, and an \
         incomplete last batch is dropped: lower `train.batch_size` to at most {images} or use \
         a larger set"
    )]
    BatchTooLarge {
        /// The set.
        set: String,
        /// Images each batch should have.
        batch_size: usize,
        /// Images there are (for this rank).
        images: usize,
        /// ` that each of N ranks gets`, or nothing.
        share: String,
    },
    /// More broken images than allowed.
    #[error(
        "{broken} images of {set} could not be read, more than the {limit} allowed; the last: {last}"
    )]
    TooManyBroken {
        /// The set.
        set: String,
        /// Broken images met so far.
        broken: usize,
        /// How many are allowed.
        limit: usize,
        /// The last one's name and reason.
        last: String,
    },
    /// Images of different sizes in one batch, under a transform that keeps sizes.
    #[error(
        "images of different sizes cannot share a batch: {first} gives {first_size}, {other} gives \
         {other_size} (width x height); set a crop size, or a batch size of 1"
    )]
    SizesDiffer {
        /// The batch's first image.
        first: String,
        /// Its size after the transform.
        first_size: String,
        /// The image that differs.
        other: String,
        /// Its size after the transform.
        other_size: String,
    },
    /// A setting of a transform or loader that cannot work.
    #[error("{key} = {found}; expected {expected}")]
    Setting {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A loading thread panicked: a bug, here or in a decoder.
    #[error("a loading thread panicked on batch {batch} of {set}: {message}")]
    WorkerPanic {
        /// The set.
        set: String,
        /// Number of the batch in its epoch.
        batch: usize,
        /// The panic's message.
        message: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// True where another image of the set may still be readable: a decode or format error of one
    /// file, or a failed read of it.
    pub fn is_broken_image(&self) -> bool {
        matches!(
            self,
            Self::Decode { .. } | Self::Format { .. } | Self::Io { .. } | Self::Missing { .. }
        )
    }
}

/// `: did you mean ...?` for the candidate nearest to `word`, if one is near.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!(": did you mean `{candidate}`?"))
        .unwrap_or_default()
}
