//! What the documents promise: links lead somewhere, and the plugin that they write compiles.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Pages of the book.
fn pages() -> Vec<PathBuf> {
    let folder = root().join("docs/src");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages
}

/// Targets of Markdown links that are no web addresses.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter_map(|target| {
        let path = target.split('#').next().unwrap_or_default();
        (!path.is_empty() && !path.contains("://")).then_some(path)
    })
}

#[test]
fn links_lead_to_files() {
    let mut documents = pages();
    documents.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "tests/parity/README.md"]
            .map(|name| root().join(name)),
    );
    let mut checked = 0;
    for document in documents {
        let text = text(&document);
        for link in links(&text) {
            let target = document.parent().unwrap().join(link);
            assert!(target.exists(), "{} links to {link}, which is not there", document.display());
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} links were found");
}

#[test]
fn every_page_is_in_the_books_summary() {
    let summary = text(&root().join("docs/src/SUMMARY.md"));
    let listed: Vec<&str> = links(&summary).collect();
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || listed.contains(&name), "{name} is not in SUMMARY.md");
    }
}

/// The crate is built and checked with the workspace.
#[test]
fn the_documented_plugin_is_a_crate_of_the_workspace() {
    let page = text(&root().join("docs/src/plugin.md"));
    let code = text(&root().join("tests/plugins/pointwise/src/lib.rs"));
    let block = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(block, Some(code.as_str()), "docs/src/plugin.md and tests/plugins/pointwise differ");
}

#[test]
fn the_architecture_names_every_folder_with_code() {
    let architecture = text(&root().join("ARCHITECTURE.md"));
    let manifest = text(&root().join("Cargo.toml"));
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        let folder = member.strip_suffix("/*").unwrap_or(member);
        assert!(architecture.contains(&format!("| `{folder}/")), "{folder} is not in the table");
    }
}
