//! Usage errors, help, colours.

use std::path::Path;

use crate::harness::{Desk, Outcome, TINY, configs};

#[test]
fn wrong_usage_exits_with_2() {
    let desk = Desk::new();
    for line in [
        "",
        "pretrian",
        "pretrain",
        "data info",
        "bench c.toml --steps 0",
        "bench c.toml --loading --data",
        "bench",
        "-v -q data list",
    ] {
        let said = desk.hssl(line);
        assert_eq!(said.code, Some(2), "{line:?}: {said:#?}");
        assert!(said.err.contains("--help"), "{line:?}: {said:#?}");
    }
    let said = desk.hssl("pretrian c.toml");
    assert!(said.err.contains("pretrain"), "{said:#?}");
}

#[test]
fn help_and_version_are_on_standard_output() {
    let desk = Desk::new();
    let help = desk.hssl("--help").good();
    help.says(&["pretrain", "eval", "embed", "step", "bench", "plugin", "config", "data"]);
    desk.hssl("pretrain --help").good().says(&["--resume", "Examples:", "--plugin-dir"]);
    desk.hssl("--version").good().says(&[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn the_configurations_in_examples_are_complete() {
    let desk = Desk::new();
    for command in ["eval", "embed"] {
        let help = desk.hssl(&format!("{command} --help")).good().out;
        let files = help.split_whitespace().filter(|word| word.ends_with(".toml"));
        for file in files.filter(|file| !file.starts_with("configs/suites/")) {
            let path = configs().join("..").join(file);
            let line = [Path::new("config"), Path::new("check"), path.as_path()];
            Outcome::of(desk.command(&line)).good();
        }
    }
}

#[test]
fn colours_appear_where_they_are_wanted() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let coloured = |arguments: &[&str], no_color: bool| {
        let mut command = desk.command(arguments);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let said = Outcome::of(command);
        format!("{}{}", said.out, said.err).contains('\u{1b}')
    };
    let show = ["config", "show", "c.toml"];
    assert!(!coloured(&show, false), "a pipe gets no colours");
    assert!(coloured(&["--color", "always", "config", "show", "c.toml"], false));
    assert!(coloured(&["--color", "always", "config", "show", "c.toml"], true));
    assert!(!coloured(&["--color", "never", "config", "show", "c.toml"], false));
    assert!(!coloured(&show, true));
    assert!(!coloured(&["config", "show", "missing.toml"], true));
}

#[test]
fn errors_say_error_and_what_to_do() {
    let desk = Desk::new();
    let said = desk.hssl("config show missing.toml");
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: cannot read configuration missing.toml: "), "{said:#?}");
    assert_eq!(said.out, "");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        desk.hssl(&format!("completions {shell}")).good().says(&["pretrain", "plugin-dir"]);
    }
    desk.hssl("man").good().says(&[".TH hssl"]);
    desk.hssl("man --out man").good();
    for page in ["hssl.1", "hssl-pretrain.1", "hssl-config-show.1"] {
        assert!(desk.path("man").join(page).is_file(), "{page} is missing");
    }
}
