//! A component that panics costs its instance and no more.

use std::collections::BTreeMap;

use hssl_engine::config::{ComponentConfig, Connection, HeadConfig};
use hssl_engine::network::{Builder, Network};
use hssl_engine::parameters::Stores;
use hssl_engine::plugin::Registry;
use hssl_plugin_api::component::{Edge, Request, Role};
use hssl_tensor::{Array, DType, Device, Tensor};

use crate::fixtures::{Folder, says};

fn component(plugin: &str) -> ComponentConfig {
    ComponentConfig { plugin: plugin.into(), options: serde_json::Map::new() }
}

fn network(registry: &Registry, backbone: &str, head: Option<&str>) -> Result<Network, String> {
    let mut stores = Stores::default();
    let device = Device::Cpu;
    let mut builder = Builder::new(registry, &mut stores, Role::Student, 0, &device);
    let head_of = |plugin: &str| {
        let (connection, options) = (Connection::Serial, serde_json::Map::new());
        HeadConfig { plugin: plugin.into(), connection, options }
    };
    let heads: BTreeMap<String, HeadConfig> =
        head.map(|head| ("aux".to_owned(), head_of(head))).into_iter().collect();
    let edges = [Edge::new("aux", "aux")];
    Network::build(&mut builder, &component(backbone), &heads, &edges, false, 32)
        .map_err(|error| error.to_string())
}

fn images() -> Tensor {
    Tensor::constant(Array::ones((2, 3, 32, 32), DType::F32, &Device::Cpu).unwrap())
}

#[test]
fn a_panic_in_forward_is_an_error_and_the_instance_is_not_used_again() {
    let folder = Folder::new().with(&["panics", "minimal"]);
    let registry = folder.registry();
    let mut network = network(&registry, "panics_in_forward", None).unwrap();
    let request = Request::default();

    let first = network.forward_base(&images(), &request, None).unwrap_err();
    let file = folder.file("panics").display().to_string();
    says(
        first,
        &["backbone", "panics_in_forward", "forward", "no use for images of [2, 3, 32, 32]", &file],
    );
    let second = network.forward_base(&images(), &request, None).unwrap_err();
    says(second, &["panicked before"]);
}

#[test]
fn a_panic_while_a_component_is_made_is_an_error() {
    let folder = Folder::new().with(&["panics", "minimal"]);
    let registry = folder.registry();
    let error = network(&registry, "minimal", Some("panics_in_new")).err().unwrap();
    says(error, &["head", "panics_in_new", "panicked in new", "no head of width 16"]);
    network(&registry, "minimal", Some("minimal")).expect("the process goes on");
}

#[test]
fn a_network_of_two_plugins_encodes() {
    let folder = Folder::new().with(&["minimal", "twin"]);
    let mut network = network(&folder.registry(), "minimal", Some("identity")).unwrap();
    let branches = ["base".to_owned(), "aux".to_owned()];
    let encoded = network.encode(&images(), &branches, &Request::default(), None).unwrap();
    for branch in &branches {
        assert_eq!(encoded[branch].image.dims(), [2, 16], "{branch}");
        assert_eq!(encoded[branch].map.dims(), [2, 4, 4, 16], "{branch}");
    }
}
