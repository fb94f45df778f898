//! The program as a user runs it: exit codes, words, files.

mod config;
mod data;
mod harness;
mod plugin;
mod run;
mod search;
mod study;
mod terminal;
