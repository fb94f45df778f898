//! Values that change between steps: weights, running statistics, centres.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::tape::Node;
use crate::{Array, Error, Result};

/// A named value that outlives a step. A [`crate::Tensor`] made of it reads the value it has at that moment.
#[derive(Debug)]
pub struct Parameter {
    id: u64,
    name: String,
    value: RwLock<Array>,
    node: Option<Arc<Node>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Parameter {
    /// A parameter that receives gradients.
    pub fn trainable(name: impl Into<String>, value: Array) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            value: RwLock::new(value),
            node: Some(Node::leaf(this.clone())),
        })
    }

    /// A value that receives none: a buffer, a frozen weight, a teacher's weight.
    pub fn fixed(name: impl Into<String>, value: Array) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            value: RwLock::new(value),
            node: None,
        })
    }

    /// Identity among all parameters of the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Full name, dots between scopes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a gradient reaches it.
    pub fn is_trainable(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// The value now.
    pub fn value(&self) -> Array {
        self.value.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Replaces the value by one of the same shape; it is cast and moved where it differs.
    ///
    /// # Errors
    /// The shape differs, or the device failed.
    pub fn set(&self, value: &Array) -> Result<()> {
        let mut slot = self.value.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if slot.shape() != value.shape() {
            return Err(Error::shape(
                "assign",
                format!("{:?} for {}", value.dims(), self.name),
                format!("{:?}", slot.dims()),
            ));
        }
        *slot = value.to_device(slot.device())?.to_dtype(slot.dtype())?.detach();
        Ok(())
    }
}
