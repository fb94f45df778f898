//! Files that are not loaded, and what the user is told.

use hssl_engine::plugin::inspect;
use hssl_plugin_api::abi::descriptor::TARGET;
use hssl_plugin_api::abi::{INTERFACE, INTERFACE_TEXT};
use hssl_plugin_api::component::Kind;

use crate::fixtures::{Folder, built, patched, says};

/// A file with this content is refused by discovery and by `inspect`, for the same reason, and the
/// good plugin beside it is not affected.
#[track_caller]
fn refused(content: &[u8], parts: &[&str]) {
    let folder = Folder::new().with(&["twin"]);
    let path = folder.put("bad", content);

    let registry = folder.registry();
    assert_eq!(registry.refused().len(), 1, "{:?}", registry.refused());
    let refusal = &registry.refused()[0];
    assert_eq!(refusal.path, path);
    says(&refusal.error, parts);
    says(&refusal.error, &[path.to_str().unwrap()]);
    registry.component(Kind::Head, "identity").expect("a bad plugin does not stop the others");

    let verdict = inspect(&path).unwrap().verdict.unwrap_err();
    assert_eq!(verdict.to_string(), refusal.error.to_string());
}

#[test]
fn another_interface() {
    let (major, minor) = INTERFACE;
    let newer_minor = format!("{major}.{}", minor + 9);
    for found in ["2.0", &newer_minor] {
        let fix = format!("update hssl to a release with interface {found}");
        refused(&patched("interface", found), &["`minimal`", found, INTERFACE_TEXT, TARGET, &fix]);
    }
    refused(&patched("interface", "0.9"), &["0.9", "rebuild the plugin against interface"]);
}

#[test]
fn another_platform() {
    let target = "mips-unknown-none";
    refused(&patched("target", target), &["`minimal`", target, TARGET, "build it for that target"]);
}

/// The target that the descriptor tells must also be what the file is.
#[test]
#[cfg(target_os = "linux")]
fn another_processor() {
    let mut bytes = std::fs::read(built("minimal")).unwrap();
    let machine: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    let name = if cfg!(target_arch = "aarch64") { "elf x86_64" } else { "elf aarch64" };
    refused(&bytes, &["`minimal`", name, std::env::consts::ARCH]);
}

#[test]
fn panics_that_abort() {
    refused(&patched("panic", "abort"), &["`minimal`", "\"abort\"", "\"unwind\"", "Cargo profile"]);
}

#[test]
fn a_truncated_file() {
    let bytes = std::fs::read(built("minimal")).unwrap();
    refused(
        &bytes[..bytes.len() / 2],
        &["damaged", &(bytes.len() / 2).to_string(), "copy the file again"],
    );
    refused(&bytes[..40], &["damaged", "40 bytes"]);
}

#[test]
fn no_shared_library() {
    refused(b"# notes on plugins\n", &["a text file of 19 bytes", "cdylib"]);
    refused(b"", &["an empty file", "cdylib"]);
    refused(&[0, 1, 2, 3, 0xff], &["5 bytes of no known format"]);
    refused(
        b"!<arch>\nfirst.o/        0           0     0     644     0         `\n",
        &["a static archive"],
    );
}

#[test]
fn a_library_that_is_no_plugin() {
    let mut bytes = std::fs::read(built("minimal")).unwrap();
    let name = b"\0.hssl_plugin\0";
    let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap();
    bytes[at + 2] = b'x';
    refused(&bytes, &["no hssl plugin", ".hssl_plugin", "hssl_plugin_api::export!"]);
}

#[test]
fn a_descriptor_that_cannot_be_read() {
    refused(&patched("interface", "one"), &["descriptor cannot be read", "\"one\"", "MAJOR.MINOR"]);
}

#[test]
fn inspection_tells_what_a_good_plugin_is() {
    let path = Folder::new().with(&["minimal"]);
    let inspection = inspect(&path.file("minimal")).unwrap();
    inspection.verdict.unwrap();
    let descriptor = inspection.descriptor.unwrap();
    assert_eq!(descriptor.interface, INTERFACE);
    assert_eq!(descriptor.target, TARGET);
    assert!(descriptor.rustc.starts_with("rustc 1."), "{}", descriptor.rustc);
    assert_eq!(inspection.size, std::fs::metadata(built("minimal")).unwrap().len());
    assert!(inspection.sections.iter().any(|section| section.name.contains("hssl_pl")));
}
