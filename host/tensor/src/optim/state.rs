//! Running quantities per parameter, and their way into and out of a checkpoint.

use std::collections::{HashMap, HashSet, hash_map};
use std::sync::Arc;

use rayon::prelude::*;

use super::cuda;
use super::ema::{check, ema};
use super::fused::{self, Job, Moved};
use super::{Group, Step};
use crate::{Array, DType, Device, Error, Parameter, Result};

/// One running quantity of a parameter, such as a momentum.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Of a parameter that the fused kernels update; written in place.
    Fused(Vec<f32>),
    /// Of any other parameter, in f32 or f64.
    Array(Array),
}

impl Slot {
    fn zeros(parameter: &Array) -> Result<Self> {
        Ok(if fused::takes(parameter) {
            Self::Fused(vec![0.0; parameter.elem_count()])
        } else {
            let dtype = fused::working_type(parameter.dtype());
            Self::Array(Array::zeros(parameter.shape(), dtype, parameter.device())?)
        })
    }

    fn from_array(array: &Array, parameter: &Array) -> Result<Self> {
        let dtype = fused::working_type(parameter.dtype());
        Ok(if fused::takes(parameter) {
            Self::Fused(
                array.to_device(parameter.device())?.to_dtype(dtype)?.flatten_all()?.to_vec1()?,
            )
        } else {
            Self::Array(array.to_device(parameter.device())?.to_dtype(dtype)?)
        })
    }

    fn to_array(&self, parameter: &Array) -> Result<Array> {
        match self {
            Self::Fused(values) => {
                Ok(Array::from_slice(values, parameter.shape(), parameter.device())?)
            }
            Self::Array(array) => Ok(array.clone()),
        }
    }
}

/// `N` running quantities and the steps done.
#[derive(Clone, Debug)]
pub(super) struct Entry<const N: usize> {
    pub step: u64,
    pub slots: [Slot; N],
}

impl<const N: usize> Entry<N> {
    fn zeros(parameter: &Array) -> Result<Self> {
        let slots = (0..N).map(|_| Slot::zeros(parameter)).collect::<Result<Vec<_>>>()?;
        Ok(Self { step: 0, slots: slots.try_into().expect("N were made") })
    }

    /// The quantities for a fused update, if this parameter takes one.
    pub fn fused(&mut self) -> Option<[&mut [f32]; N]> {
        let fused = |slot: &Slot| matches!(slot, Slot::Fused(_));
        self.slots.iter().all(fused).then(|| {
            self.slots.each_mut().map(|slot| match slot {
                Slot::Fused(values) => values.as_mut_slice(),
                Slot::Array(_) => unreachable!("all are fused"),
            })
        })
    }

    /// The quantities for an update by candle's operations.
    pub fn arrays(&self, parameter: &Array) -> Result<[Array; N]> {
        let arrays = self.slots.iter().map(|slot| slot.to_array(parameter));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Ok(arrays.try_into().expect("there are N slots"))
    }

    /// Puts back what [`Entry::arrays`] gave.
    pub fn set_arrays(&mut self, arrays: [Array; N]) {
        self.slots = arrays.map(Slot::Array);
    }
}

/// The state of an optimizer with `N` quantities per parameter.
#[derive(Debug)]
pub(super) struct State<const N: usize> {
    names: [&'static str; N],
    entries: HashMap<u64, Entry<N>>,
}

/// The name of the step count.
const STEP: &str = "step";

impl<const N: usize> State<N> {
    pub fn new(names: [&'static str; N]) -> Self {
        Self { names, entries: HashMap::new() }
    }

    /// Updates every parameter that has a gradient, in parallel, and moves the teachers. `update` makes
    /// the value and changes the entry, whose step count is already that of this step.
    pub fn step(
        &mut self,
        groups: &[Group],
        step: &Step<'_>,
        update: impl Fn(&Group, &Job<'_>, &mut Entry<N>) -> Result<Moved> + Sync,
    ) -> Result<()> {
        let averages = &step.averages;
        let mut teachers = HashMap::new();
        for (teacher, student) in &averages.pairs {
            check(teacher, student)?;
            teachers.insert(student.id(), teacher);
        }
        let mut work = Vec::new();
        for group in groups {
            for pair in group.with_gradients(step.gradients) {
                let (parameter, gradient) = pair?;
                work.push((group, parameter, gradient));
            }
        }
        for (_, parameter, _) in &work {
            if let hash_map::Entry::Vacant(slot) = self.entries.entry(parameter.id()) {
                slot.insert(Entry::zeros(&parameter.value())?);
            }
        }
        let work: Vec<_> = work
            .into_iter()
            .map(|work| (work, self.entries.remove(&work.1.id()).expect("it was made above")))
            .collect();
        let one = |((group, parameter, gradient), mut entry): (
            (&Group, &Arc<Parameter>, &Array),
            Entry<N>,
        )| {
            entry.step += 1;
            let id = parameter.id();
            let teacher = teachers.get(&id);
            let job = Job {
                value: parameter.value(),
                gradient,
                factor: step.clip.factor(id),
                teacher: teacher.map(|teacher| (teacher.value(), averages.momentum)),
            };
            let outcome = update(group, &job, &mut entry).and_then(|moved| {
                parameter.set(&moved.value)?;
                match (teacher, &moved.teacher) {
                    (Some(teacher), Some(value)) => teacher.set(value).map(|()| Some(teacher.id())),
                    _ => Ok(None),
                }
            });
            (id, entry, outcome)
        };
        // A GPU's work is launched in order, by the thread whose order it is.
        let launched = work.iter().any(|((_, parameter, _), _)| cuda::takes(&parameter.value()));
        let done: Vec<_> = if launched {
            work.into_iter().map(one).collect()
        } else {
            work.into_par_iter().map(one).collect()
        };
        let (mut followed, mut outcome) = (HashSet::new(), Ok(()));
        for (id, entry, result) in done {
            self.entries.insert(id, entry);
            match result {
                Ok(teacher) => followed.extend(teacher),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome?;
        let mut left =
            averages.pairs.iter().filter(|(teacher, _)| !followed.contains(&teacher.id()));
        left.try_for_each(|(teacher, student)| ema(teacher, student, averages.momentum))
    }

    pub fn export(&self, groups: &[Group]) -> Result<Vec<(String, Array)>> {
        let mut state = Vec::new();
        for parameter in groups.iter().flat_map(|group| &group.parameters) {
            let Some(entry) = self.entries.get(&parameter.id()) else { continue };
            let value = parameter.value();
            let name = |quantity: &str| format!("{}.{quantity}", parameter.name());
            state.push((name(STEP), Array::new(entry.step as i64, &Device::Cpu)?));
            for (quantity, slot) in self.names.iter().zip(&entry.slots) {
                state.push((name(quantity), slot.to_array(&value)?));
            }
        }
        Ok(state)
    }

    pub fn import(&mut self, groups: &[Group], state: &[(String, Array)]) -> Result<()> {
        let mut arrays: HashMap<&str, &Array> =
            state.iter().map(|(name, array)| (name.as_str(), array)).collect();
        let mut entries = HashMap::new();
        for parameter in groups.iter().flat_map(|group| &group.parameters) {
            let mut take =
                |quantity: &str| arrays.remove(format!("{}.{quantity}", parameter.name()).as_str());
            let Some(step) = take(STEP) else { continue };
            let step = step.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
            let step = match step.as_slice() {
                [step] => u64::try_from(*step).ok(),
                _ => None,
            };
            let step = step.ok_or_else(|| {
                let name = parameter.name();
                Error::attribute("optimizer", format!("{name}.{STEP} is no count of steps"))
            })?;
            let value = parameter.value();
            let mut slots = Vec::with_capacity(N);
            for quantity in self.names {
                let array = take(quantity).ok_or_else(|| {
                    let name = parameter.name();
                    Error::attribute("optimizer", format!("the state has no `{name}.{quantity}`"))
                })?;
                if array.dims() != value.dims() {
                    return Err(Error::shape(
                        "optimizer",
                        format!("{:?} for {}.{quantity}", array.dims(), parameter.name()),
                        format!("{:?}", value.dims()),
                    ));
                }
                slots.push(Slot::from_array(array, &value)?);
            }
            let slots = slots.try_into().expect("one slot per name");
            entries.insert(parameter.id(), Entry { step, slots });
        }
        if let Some(name) = arrays.keys().min() {
            return Err(Error::attribute(
                "optimizer",
                format!("the state's `{name}` belongs to no parameter of the groups"),
            ));
        }
        self.entries = entries;
        Ok(())
    }
}
