//! A value with its history.

use std::sync::Arc;

use crate::tape::Edge;
use crate::{Array, DType, Device, Parameter, Result};

/// A value and, where a gradient may be asked of it, how it was made. Cheap to clone; immutable.
#[derive(Clone, Debug)]
pub struct Tensor(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Value { array: Array, edge: Option<Edge> },
    Parameter(Arc<Parameter>),
}

impl Tensor {
    pub(crate) fn recorded(array: Array, edge: Option<Edge>) -> Self {
        Self(Arc::new(Inner::Value { array, edge }))
    }

    /// A tensor without history.
    pub fn constant(array: Array) -> Self {
        Self::recorded(array, None)
    }

    /// A tensor that stands for a parameter's value at the time it is used.
    pub fn parameter(parameter: &Arc<Parameter>) -> Self {
        Self(Arc::new(Inner::Parameter(parameter.clone())))
    }

    /// The value.
    pub fn array(&self) -> Array {
        match &*self.0 {
            Inner::Value { array, .. } => array.clone(),
            Inner::Parameter(parameter) => parameter.value(),
        }
    }

    /// The parameter it stands for, if it does.
    pub fn as_parameter(&self) -> Option<&Arc<Parameter>> {
        match &*self.0 {
            Inner::Parameter(parameter) => Some(parameter),
            Inner::Value { .. } => None,
        }
    }

    pub(crate) fn edge(&self) -> Option<Edge> {
        match &*self.0 {
            Inner::Value { edge, .. } => edge.clone(),
            Inner::Parameter(parameter) => parameter.node().map(Edge::leaf),
        }
    }

    /// Whether a gradient can flow into it.
    pub fn is_tracked(&self) -> bool {
        match &*self.0 {
            Inner::Value { edge, .. } => edge.is_some(),
            Inner::Parameter(parameter) => parameter.is_trainable(),
        }
    }

    /// Size of each dimension.
    pub fn dims(&self) -> Vec<usize> {
        match &*self.0 {
            Inner::Value { array, .. } => array.dims().to_vec(),
            Inner::Parameter(parameter) => parameter.value().dims().to_vec(),
        }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims().len()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.array().dtype()
    }

    /// Where the value lies.
    pub fn device(&self) -> Device {
        self.array().device().clone()
    }

    /// The one element as f64; synchronises with the device.
    ///
    /// # Errors
    /// There is more than one element.
    pub fn scalar(&self) -> Result<f64> {
        Ok(self.array().flatten_all()?.reshape(())?.to_dtype(DType::F64)?.to_scalar::<f64>()?)
    }
}
