//! What a pass through a network has given so far.

use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::component::{Features, Role};

use crate::error::{Error, Result};

/// Features by branch, and the branches that cannot have any of such images.
#[derive(Default)]
pub(super) struct Encoded {
    features: BTreeMap<String, Features>,
    left_out: BTreeSet<String>,
}

impl Encoded {
    pub fn put(&mut self, branch: &str, features: Features) {
        self.features.insert(branch.to_owned(), features);
    }

    pub fn leave_out(&mut self, branch: &str) {
        self.left_out.insert(branch.to_owned());
    }

    pub fn is_left_out(&self, branch: &str) -> bool {
        self.left_out.contains(branch)
    }

    /// The features, if each of `branches` has some or was left out.
    pub fn complete(self, branches: &[String], role: Role) -> Result<BTreeMap<String, Features>> {
        let missing =
            |name: &&String| !self.features.contains_key(*name) && !self.is_left_out(name);
        match branches.iter().find(missing) {
            None => Ok(self.features),
            Some(missing) => {
                Err(Error::Composition(format!("the {role:?} has no branch {missing:?}")))
            }
        }
    }
}
