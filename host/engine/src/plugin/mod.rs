//! Plugins: where they are looked for, what they say of themselves, whether they may be loaded, and
//! the loaded component.
//!
//! The order is the point. [`Registry::discover`] reads each file's descriptor from its link section
//! and checks platform, interface and file permissions; only [`Registry::component`] opens a library,
//! and only the one that is asked for, after its SHA-256 has been taken. A file that is refused stops
//! nobody else: it is kept with its reason, and named when something it might offer is missing.

mod conformance;
mod descriptor;
mod discovery;
mod error;
mod host_table;
mod inspection;
mod instance;
mod library;
mod lock;
mod registry;
mod scaffold;
mod services;
mod trust;
mod work;

pub use conformance::{Check, Outcome, conformance};
pub use discovery::{Location, Origin, PLUGIN_PATH_VARIABLE, SearchPath};
pub use error::PluginError;
pub use host_table::{Services, on_device};
pub(crate) use host_table::{export, import, raw_bytes};
pub use inspection::{Inspection, Section, inspect};
pub use instance::{CallError, Instance};
pub use library::{Component, LoadedPlugin, UsedPlugin};
pub use lock::{Enforcement, LOCK_FILE, LockedPlugin, PluginLock};
pub use registry::{Offer, Refusal, Registry};
pub use scaffold::{ScaffoldError, scaffold};
pub use services::{instantiate, log_line};
pub use work::count_multiply_adds;
