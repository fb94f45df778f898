//! Looking at a plugin runs no code of it. A file of its own, because its one test sets an environment
//! variable.
#![cfg(target_os = "linux")]

use hssl_engine::plugin::{Registry, SearchPath, inspect};
use hssl_plugin_api::component::Kind;

#[test]
fn only_loading_runs_a_librarys_constructor() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    // SAFETY: this is the only test of the program, and its harness waits for it.
    unsafe { std::env::set_var("HSSL_TEST_CONSTRUCTOR_RAN", &mark) };
    let name = "libhssl_test_constructor.so";
    let file = folder.path().join(name);
    std::fs::copy(std::env::current_exe().unwrap().with_file_name(name), &file).unwrap();

    inspect(&file).unwrap().verdict.unwrap();
    let registry = Registry::discover(&SearchPath::only([folder.path()]));
    assert_eq!(registry.offers().count(), 1);
    let _ = registry.component(Kind::Head, "another");
    assert!(!mark.exists(), "the library was opened to look at it");

    registry.component(Kind::Head, "constructor").unwrap();
    assert!(mark.exists(), "a loaded library runs its constructor");
}
