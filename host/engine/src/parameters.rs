//! Named parameters of the two networks, of the objective's state and of evaluators.

use std::collections::HashMap;
use std::sync::Arc;

use hssl_plugin_api::component::Role;
use hssl_plugin_api::params::{Init, ParameterRequest};
use hssl_tensor::{Array, DType, Device, Parameter, Tensor, random};

use crate::error::{Error, Result};

/// Parameters by name, in the order in which components asked for them.
#[derive(Debug, Default)]
pub struct Store {
    parameters: Vec<Arc<Parameter>>,
    index: HashMap<String, usize>,
}

impl Store {
    /// In order of creation.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Parameter>> {
        self.parameters.iter()
    }

    /// By full name.
    pub fn get(&self, name: &str) -> Option<&Arc<Parameter>> {
        self.index.get(name).map(|index| &self.parameters[*index])
    }

    /// Number of elements of all trainable parameters.
    pub fn trainable_elements(&self) -> usize {
        let trainable = self.parameters.iter().filter(|p| p.is_trainable());
        trainable.map(|p| p.value().elem_count()).sum()
    }

    /// Makes a parameter, or returns the one that has this name already.
    pub fn create(
        &mut self,
        request: &ParameterRequest,
        seed: u64,
        device: &Device,
        trainable: bool,
    ) -> Result<Tensor> {
        if let Some(known) = self.get(&request.name) {
            if known.value().dims() != request.shape {
                return Err(Error::Parameter(format!(
                    "{} was made with the shape {:?} and is asked for again with {:?}",
                    request.name,
                    known.value().dims(),
                    request.shape
                )));
            }
            return Ok(Tensor::parameter(known));
        }
        let value = initial(request, seed, device)?;
        let make = if trainable { Parameter::trainable } else { Parameter::fixed };
        let parameter = make(request.name.clone(), value);
        self.index.insert(request.name.clone(), self.parameters.len());
        self.parameters.push(parameter.clone());
        Ok(Tensor::parameter(&parameter))
    }
}

/// The stores of a run.
#[derive(Debug, Default)]
pub struct Stores {
    /// Trained.
    pub student: Store,
    /// Moving averages of the student.
    pub teacher: Store,
    /// Centres, queues and other buffers of the objective.
    pub state: Store,
}

impl Stores {
    /// A network's store.
    pub fn of(&self, role: Role) -> &Store {
        match role {
            Role::Student => &self.student,
            Role::Teacher => &self.teacher,
        }
    }

    /// Serves a component's request.
    pub fn create(
        &mut self,
        request: &ParameterRequest,
        seed: u64,
        device: &Device,
    ) -> Result<Tensor> {
        match request.store.as_str() {
            "student" => self.student.create(request, seed, device, request.trainable),
            "teacher" => self.teacher.create(request, seed, device, false),
            "state" => self.state.create(request, seed, device, false),
            other => Err(Error::Parameter(format!("there is no parameter store {other:?} here"))),
        }
    }

    /// Makes the teacher an exact copy of the student, by name.
    pub fn copy_student_to_teacher(&self) -> Result<()> {
        for teacher in self.teacher.iter() {
            if let Some(student) = self.student.get(teacher.name()) {
                teacher.set(&student.value())?;
            }
        }
        Ok(())
    }
}

/// First values depend on the seed and the parameter's name, not on what else a network has: a base
/// starts the same with and without heads.
fn initial(request: &ParameterRequest, seed: u64, device: &Device) -> Result<Array> {
    let len: usize = request.shape.iter().product();
    let normal = |mean: f64, std: f64, values: Vec<f32>| -> Vec<f32> {
        values.into_iter().map(|z| (mean + std * f64::from(z)) as f32).collect()
    };
    let values: Vec<f32> = random::scope(seed, stream(&request.name), || match &request.init {
        Init::Constant(value) => vec![*value as f32; len],
        Init::Normal { mean, std } => normal(*mean, *std, random::normal(len)),
        Init::TruncNormal { std } => {
            let mut values = normal(0.0, *std, random::normal(len));
            // Redraw what lies beyond +-2; with the usual 0.02 nothing ever does.
            while values.iter().any(|x| x.abs() > 2.0) {
                let fresh = normal(0.0, *std, random::normal(len));
                let beyond = values.iter_mut().zip(fresh).filter(|(x, _)| x.abs() > 2.0);
                beyond.for_each(|(x, fresh)| *x = fresh);
            }
            values
        }
        Init::Uniform { bound } => {
            let spread = |u: f32| ((2.0 * f64::from(u) - 1.0) * bound) as f32;
            random::uniform(len).into_iter().map(spread).collect()
        }
        Init::Values(values) => values.iter().map(|value| *value as f32).collect(),
    });
    if values.len() != len {
        return Err(Error::Parameter(format!(
            "{}: {} values for the shape {:?}",
            request.name,
            values.len(),
            request.shape
        )));
    }
    let array = Array::from_vec(values, request.shape.as_slice(), &Device::Cpu)
        .map_err(hssl_tensor::Error::from)?;
    let array = array.to_dtype(DType::F32).and_then(|a| a.to_device(device));
    Ok(array.map_err(hssl_tensor::Error::from)?)
}

/// FNV-1a of the name.
fn stream(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
