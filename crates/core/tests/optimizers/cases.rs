//! The optimizers in the settings of the fixtures.

use glassbox_core::optim::{Adagrad, Adam, AdamW, Group, Lion, Muon, MuonAdjust, RmsProp, Sgd};
use glassbox_core::{Optimizer, ParamStore, Result};

/// The name of a fixture, and what makes the optimizer that should follow it.
pub struct Case {
    pub name: &'static str,
    pub make: fn(&ParamStore) -> Result<Box<dyn Optimizer>>,
}

macro_rules! cases {
    ($($name:literal: $params:ident => $optimizer:expr;)*) => {
        pub const CASES: &[Case] = &[$(Case { name: $name, make: |$params| Ok(Box::new($optimizer)) }),*];
    };
}

cases! {
    "sgd/plain": p => Sgd::new(p, 0.1)?;
    "sgd/momentum": p => Sgd::new(p, 0.1)?.momentum(0.9).weight_decay(0.05);
    "sgd/dampening": p => Sgd::new(p, 0.1)?.momentum(0.8).dampening(0.3);
    "sgd/nesterov": p => Sgd::new(p, 0.1)?.momentum(0.9).nesterov().weight_decay(0.05);
    "adam/default": p => Adam::new(p, 0.01)?;
    "adam/decay": p => Adam::new(p, 0.01)?.betas(0.8, 0.95).eps(1e-6).weight_decay(0.1);
    "adam/amsgrad": p => Adam::new(p, 0.01)?.betas(0.5, 0.6).amsgrad().weight_decay(0.1);
    "adamw/default": p => AdamW::new(p, 0.01)?;
    "adamw/decay": p => AdamW::new(p, 0.01)?.betas(0.8, 0.95).weight_decay(0.3);
    "adamw/amsgrad": p => AdamW::new(p, 0.01)?.betas(0.5, 0.6).amsgrad();
    // head.bias is in both groups: the first counts.
    "adamw/groups": p => AdamW::new(p, 0.01)?
        .weight_decay(0.1)
        .group("*.bias", Group { weight_decay: Some(0.0), ..Group::default() })
        .group("head.*", Group { learning_rate: Some(0.1), ..Group::default() });
    "rmsprop/default": p => RmsProp::new(p, 0.01)?;
    "rmsprop/momentum": p => RmsProp::new(p, 0.01)?.alpha(0.9).momentum(0.8).weight_decay(0.1);
    "rmsprop/centered": p => RmsProp::new(p, 0.01)?.alpha(0.9).centered().eps(1e-3);
    "rmsprop/both": p => RmsProp::new(p, 0.01)?.alpha(0.9).centered().momentum(0.8).eps(1e-3);
    "adagrad/default": p => Adagrad::new(p, 0.1)?;
    "adagrad/decay": p => Adagrad::new(p, 0.1)?.lr_decay(0.2).initial_accumulator(0.5).eps(1e-6).weight_decay(0.1);
    "lion/default": p => Lion::new(p, 0.01)?;
    "lion/decay": p => Lion::new(p, 0.01)?.betas(0.95, 0.98).weight_decay(1.0);
    "muon/default": p => Muon::new(p, 0.02)?.adamw_for("head.*");
    "muon/plain": p => Muon::new(p, 0.02)?
        .momentum(0.8)
        .no_nesterov()
        .weight_decay(0.0)
        .ns_steps(3)
        .adjust(MuonAdjust::MatchRmsAdamw)
        .adamw_for("head.*")
        .adamw(AdamW::new(p, 0.01)?.weight_decay(0.2));
}
