//! The networks of a step, as an objective sees them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::abi::method;
use crate::component::{Features, Tokens};
use crate::wire::Envelope;
use crate::{Context, Error, Result, Tensor};

/// Which of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Trained.
    Student,
    /// The student's moving average; no gradient.
    Teacher,
}

/// What an encoding is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodeRequest {
    /// Which network.
    pub role: Role,
    /// Which branches; heads that are not named are not run.
    pub branches: Vec<String>,
    /// Return the last block's attention of the base.
    #[serde(default)]
    pub attention: bool,
}

/// What an encoding of some of the patches is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodeKeptRequest {
    /// Which network.
    pub role: Role,
    /// Also return the tokens behind these blocks, counted from 0.
    #[serde(default)]
    pub layers: Vec<usize>,
}

/// Base model and heads of one role.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    context: Context<'a>,
    role: Role,
}

/// Features by branch.
#[derive(Clone, Debug, Default)]
pub struct EncodedBranches(pub BTreeMap<String, Features>);

impl EncodedBranches {
    /// A branch's features, or none if its head cannot take images of this size.
    pub fn find(&self, branch: &str) -> Option<&Features> {
        self.0.get(branch)
    }

    /// A branch's features.
    pub fn get(&self, branch: &str) -> Result<&Features> {
        self.0.get(branch).ok_or_else(|| {
            Error::refused(format!(
                "branch {branch:?} was not encoded, or its head cannot take images of this size"
            ))
        })
    }
}

impl<'a> Network<'a> {
    pub(super) fn new(context: Context<'a>, role: Role) -> Self {
        Self { context, role }
    }

    /// Encodes images (B, 3, H, W) by the named branches, with an optional mask (B, N), in one forward pass.
    /// A branch whose head takes only the global crops' grid is left out for other images.
    pub fn encode(
        &self,
        images: &Tensor,
        branches: &[&str],
        mask: Option<&Tensor>,
    ) -> Result<EncodedBranches> {
        let request = EncodeRequest {
            role: self.role,
            branches: branches.iter().map(|name| (*name).to_owned()).collect(),
            attention: false,
        };
        self.encode_with(images, &request, mask)
    }

    /// [`Network::encode`] with every option.
    pub fn encode_with(
        &self,
        images: &Tensor,
        request: &EncodeRequest,
        mask: Option<&Tensor>,
    ) -> Result<EncodedBranches> {
        let envelope = Envelope::new(request)?.with("images", images).with_some("mask", mask);
        let reply = self.context.call(method::host::ENCODE, &envelope)?;
        branches_of(&reply, &request.branches)
    }

    /// The base's tokens of some patches of images (B, 3, H, W) alone, for [`Capability::DropTokens`].
    /// `kept` (B, K), i64, are their positions in the map, row by row, in the order in which their tokens
    /// come back; `layers` are the blocks whose output is wanted as well.
    ///
    /// [`Capability::DropTokens`]: crate::component::Capability::DropTokens
    pub fn encode_kept(&self, images: &Tensor, kept: &Tensor, layers: &[usize]) -> Result<Tokens> {
        let request = EncodeKeptRequest { role: self.role, layers: layers.to_vec() };
        let envelope = Envelope::new(&request)?.with("images", images).with("kept", kept);
        Tokens::from_envelope(&self.context.call(method::host::ENCODE_KEPT, &envelope)?)
    }

    /// The base's final norm of tokens (B, N, C) that an objective made of several layers'.
    pub fn norm(&self, tokens: &Tensor) -> Result<Tensor> {
        let body = serde_json::json!({ "role": self.role });
        let envelope = Envelope::new(&body)?.with("tokens", tokens);
        self.context.call(method::host::NORM, &envelope)?.tensor("tokens")
    }

    /// What heads make of a map (B, H, W, C) that stands for the base's last one, before its final norm.
    pub fn encode_map(&self, map: &Tensor, branches: &[&str]) -> Result<EncodedBranches> {
        let branches: Vec<String> = branches.iter().map(|name| (*name).to_owned()).collect();
        let request = EncodeRequest { role: self.role, branches, attention: false };
        let envelope = Envelope::new(&request)?.with("map", map);
        let reply = self.context.call(method::host::ENCODE_MAP, &envelope)?;
        branches_of(&reply, &request.branches)
    }
}

fn branches_of(reply: &Envelope, branches: &[String]) -> Result<EncodedBranches> {
    let mut encoded = EncodedBranches::default();
    for branch in branches {
        let prefix = format!("{branch}/");
        if reply.find(&format!("{prefix}image")).is_some() {
            encoded.0.insert(branch.clone(), Features::from_envelope(reply, &prefix)?);
        }
    }
    Ok(encoded)
}
