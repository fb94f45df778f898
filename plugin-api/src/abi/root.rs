//! The root module: the one symbol that a plugin exports. All of `abi_stable` is in this file.

use std::ffi::c_void;
use std::path::Path;

pub use abi_stable;
use abi_stable::StableAbi;
use abi_stable::library::{RootModule, lib_header_from_path};
use abi_stable::sabi_types::VersionStrings;

use super::Message;

/// Entry points of a plugin; pointers to [`Host`](super::Host), [`Message`] and instances are untyped
/// here because the layout check of `abi_stable` ends at this table.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    /// Writes the manifest (JSON) into the [`Message`].
    pub manifest: unsafe extern "C" fn(reply: *mut c_void) -> i32,
    /// Makes an instance of the component with this index: host table, call context, request
    /// (configuration), and where to write the instance and the reply.
    pub create: unsafe extern "C" fn(
        host: *const c_void,
        context: *const c_void,
        component: usize,
        request: *const c_void,
        instance: *mut *mut c_void,
        reply: *mut c_void,
    ) -> i32,
    /// Calls a method of an instance.
    pub call: unsafe extern "C" fn(
        instance: *mut c_void,
        context: *const c_void,
        method: u32,
        request: *const c_void,
        reply: *mut c_void,
    ) -> i32,
    /// Drops an instance.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(instance: *mut c_void),
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "hssl_plugin";
    const NAME: &'static str = "hssl_plugin";
    // The interface's version, so that `abi_stable` refuses another major one by itself too.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

/// Opens a library and returns its root module. The library stays open for good.
///
/// # Errors
/// The library cannot be opened, exports no root module, or one of another layout.
pub fn open(path: &Path) -> Result<PluginRef, String> {
    // `RootModule::load_from_file` would cache one module per *type* and hand out the first plugin
    // for every later one.
    let header = lib_header_from_path(path).map_err(|error| error.to_string())?;
    header.init_root_module::<PluginRef>().map_err(|error| error.to_string())
}

/// A failure of the plugin's code.
pub(crate) fn as_message(reply: *mut c_void) -> *mut Message {
    reply.cast()
}

/// Defines the entry points and the exported symbol of a plugin. Used by [`export!`](crate::export!).
#[doc(hidden)]
#[macro_export]
macro_rules! __root_module {
    ($components:ident) => {
        const _: () = {
            use ::std::ffi::c_void;
            use $crate::abi::root::abi_stable::library::{
                __call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult,
            };
            use $crate::abi::root::abi_stable::prefix_type::PrefixTypeTrait;
            use $crate::abi::root::{Plugin, PluginRef};

            unsafe extern "C" fn manifest(reply: *mut c_void) -> i32 {
                // SAFETY: the host's pointers, passed on.
                unsafe { $crate::export::manifest($components, reply) }
            }
            unsafe extern "C" fn create(
                host: *const c_void,
                context: *const c_void,
                component: usize,
                request: *const c_void,
                instance: *mut *mut c_void,
                reply: *mut c_void,
            ) -> i32 {
                // SAFETY: the host's pointers, passed on.
                unsafe {
                    $crate::export::create(
                        $components,
                        host,
                        context,
                        component,
                        request,
                        instance,
                        reply,
                    )
                }
            }
            unsafe extern "C" fn call(
                instance: *mut c_void,
                context: *const c_void,
                method: u32,
                request: *const c_void,
                reply: *mut c_void,
            ) -> i32 {
                // SAFETY: the host's pointers, passed on.
                unsafe { $crate::export::call(instance, context, method, request, reply) }
            }
            unsafe extern "C" fn drop(instance: *mut c_void) {
                // SAFETY: the host's pointer, passed on.
                unsafe { $crate::export::drop_instance(instance) }
            }

            fn module() -> PluginRef {
                Plugin { manifest, create, call, drop }.leak_into_prefix()
            }
            extern "C" fn erased() -> RootModuleResult {
                __call_root_module_loader(module)
            }

            // The name is abi_stable's mangling of "root module loader".
            #[used]
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: LibHeader =
                // SAFETY: `erased` returns a `PluginRef`.
                unsafe {
                    LibHeader::from_constructor::<PluginRef>(erased, CheckTypeLayout::Yes)
                };
        };
    };
}
