//! A folder to run the program in, and what it said.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The plugins that Cargo built beside these tests.
const PLUGINS: [&str; 5] = ["vit", "convnext", "dino", "knn", "linear"];

const OTHER_PLUGINS: [&str; 13] = [
    "barlow",
    "byol",
    "ibot",
    "mae",
    "mff",
    "moco",
    "poolformer",
    "pvt",
    "resmlp",
    "resnet",
    "simclr",
    "swin",
    "vicreg",
];

/// The library of a plugin.
pub fn plugin(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    test.with_file_name(format!("{prefix}hssl_plugin_{name}{suffix}"))
}

/// A new folder that the program runs in, and an installation of its own beside it: what else lies
/// in Cargo's folders is not found.
pub struct Desk(TempDir);

impl Desk {
    pub fn new() -> Self {
        let desk = Self(TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder"));
        std::fs::create_dir(desk.path("")).unwrap();
        desk.install(Path::new(env!("CARGO_BIN_EXE_hssl")), "bin");
        for name in PLUGINS {
            desk.install(&plugin(name), "lib/hssl/plugins");
        }
        desk
    }

    /// With every plugin.
    pub fn with_all_plugins() -> Self {
        let desk = Self::new();
        for name in OTHER_PLUGINS {
            desk.install(&plugin(name), "lib/hssl/plugins");
        }
        desk
    }

    fn install(&self, file: &Path, folder: &str) {
        let folder = self.0.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let installed = folder.join(file.file_name().unwrap());
        if std::fs::hard_link(file, &installed).is_err() {
            std::fs::copy(file, &installed)
                .unwrap_or_else(|error| panic!("{} is not built: {error}", file.display()));
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("desk").join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program, without the variables of whoever runs the tests.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_hssl")).file_name().unwrap();
        let mut command = Command::new(self.0.path().join("bin").join(program));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("HSSL_") || name.starts_with("CLICOLOR") || name == "NO_COLOR" {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(self.path(""));
        command
    }

    /// Runs the program with these words.
    #[track_caller]
    pub fn hssl(&self, line: &str) -> Outcome {
        Outcome::of(self.command(&line.split_whitespace().collect::<Vec<_>>()))
    }
}

/// What a run of the program said.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Outcome {
    #[track_caller]
    pub fn of(mut command: Command) -> Self {
        let output = command.output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It did what was asked.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It refused with code 1, and said why.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        let said = format!("{}{}", self.out, self.err);
        for word in words {
            assert!(said.contains(word), "{word:?} is missing in: {self:#?}");
        }
        assert!(said.contains("error"), "{self:#?}");
        self
    }

    /// Standard output has all of this.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word), "{word:?} is missing in: {self:#?}");
        }
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// The repository's configurations.
pub fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// A configuration that trains in seconds.
pub const TINY: &str = r#"
[backbone]
plugin = "vit"
patch_size = 4
img_size = 8
embed_dim = 16
depth = 1
num_heads = 2

[heads.aux]
plugin = "convnext"
depth = 1

[objective]
plugin = "dino"
out_dim = 32
hidden_dim = 16
bottleneck_dim = 8

[data]
train = "generated:shapes?n=32&size=8#train"
eval_test = "generated:shapes?n=16&size=8#val"

[views]
global_crops_size = 8
local_crops_number = 0

[train]
epochs = 1
batch_size = 8
warmup_epochs = 0

[eval]
online_every = 0
resize = 0
crop = 0
"#;
