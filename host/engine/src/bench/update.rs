//! The update after a step's gradients.

use std::sync::Arc;

use hssl_tensor::optim::{AdamW, Averages, Clip, Group, Optimizer, Step};
use hssl_tensor::{Array, DType, Device, Gradients, Parameter};

use super::operation::noise;
use crate::error::Result;

/// Parameters of a student and its teacher, with the gradients that each step gets.
pub(super) struct Update {
    optimizer: AdamW,
    students: Vec<Arc<Parameter>>,
    teachers: Vec<Arc<Parameter>>,
    gradients: Vec<Array>,
}

impl Update {
    pub(super) fn new(shapes: &[Vec<usize>], device: &Device) -> Result<Self> {
        let arrays = || shapes.iter().map(|shape| noise(shape, DType::F32, device));
        let gradients = arrays().collect::<Result<Vec<_>>>()?;
        let (mut students, mut teachers) = (Vec::new(), Vec::new());
        for (index, array) in arrays().enumerate() {
            let array = array?;
            students.push(Parameter::trainable(index.to_string(), array.clone()));
            teachers.push(Parameter::fixed(index.to_string(), array));
        }
        let optimizer = AdamW::new(vec![Group::new(students.clone(), 1e-4, 0.04)])?;
        Ok(Self { optimizer, students, teachers, gradients })
    }

    /// Clips, steps, averages.
    pub(super) fn step(&mut self) -> Result<()> {
        let mut gradients = Gradients::default();
        for (student, gradient) in self.students.iter().zip(&self.gradients) {
            gradients.insert(student, gradient.clone());
        }
        let clip = Clip::per_tensor(&gradients, &self.students, 3.0)?;
        let pairs = self.teachers.iter().cloned().zip(self.students.iter().cloned()).collect();
        let averages = Averages { momentum: 0.996, pairs };
        Ok(self.optimizer.update(&Step { gradients: &gradients, clip, averages })?)
    }
}
