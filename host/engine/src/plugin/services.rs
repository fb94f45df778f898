//! Making instances, and the service that every call has: the log.

use hssl_plugin_api::component::Kind;
use hssl_plugin_api::wire::Envelope;
use hssl_plugin_api::{self as api, LogLevel};

use super::{Instance, Registry, Services};
use crate::error::Result;

/// Makes an instance of a component.
pub fn instantiate(
    registry: &Registry,
    kind: Kind,
    name: &str,
    request: &Envelope,
    services: &mut dyn Services,
) -> Result<Instance> {
    let component = registry.component(kind, name)?;
    let plugin = &component.plugin;
    let label = format!("{kind} {name:?}");
    let origin = format!("{:?} ({})", plugin.descriptor.name, plugin.path.display());
    Ok(Instance::create(plugin.module, component.index, (label, origin), request, services)?)
}

#[derive(serde::Deserialize)]
struct Line {
    level: LogLevel,
    message: String,
}

/// Serves [`hssl_plugin_api::abi::method::host::LOG`].
pub fn log_line(request: &Envelope) -> api::Result<Envelope> {
    let line: Line = request.read()?;
    match line.level {
        LogLevel::Warn => tracing::warn!(target: "plugin", "{}", line.message),
        LogLevel::Info => tracing::info!(target: "plugin", "{}", line.message),
        LogLevel::Debug => tracing::debug!(target: "plugin", "{}", line.message),
    }
    Ok(Envelope::default())
}
