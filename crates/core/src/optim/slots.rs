//! What the optimizers share: rates by group, and named tensors kept for each parameter.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Tensor, Var};

use super::{Gradients, check};
use crate::{Error, Kind, Param, ParamStore, Result, State, pattern};

/// What is different for the parameters of a group; none keeps the optimizer's own value.
///
/// ```
/// use glassbox_core::optim::Group;
/// let no_decay = Group { weight_decay: Some(0.0), ..Group::default() };
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Group {
    /// The learning rate, before a schedule's factor; 0 or more.
    pub learning_rate: Option<f64>,
    /// The weight decay; 0 or more.
    pub weight_decay: Option<f64>,
}

/// One update rule: a formula and its settings.
pub(super) trait Rule {
    /// The names of the tensors that it keeps for each parameter, each of the parameter's shape.
    fn keeps(&self) -> Vec<&'static str>;

    /// What these hold at first.
    fn initial(&self) -> f64 {
        0.0
    }

    /// Fails where a setting is out of range.
    fn check(&self) -> Result<()>;

    /// Changes one parameter and what is kept for it, in place.
    fn update(&self, update: &Update) -> Result<()>;
}

/// What a rule needs to change one parameter.
pub(super) struct Update<'a> {
    pub param: &'a Var,
    pub gradient: &'a Tensor,
    pub learning_rate: f64,
    pub weight_decay: f64,
    /// This parameter's updates, counted from 1.
    pub step: u64,
    kept: &'a [(&'static str, Var)],
}

impl Update<'_> {
    /// The tensor kept under `name`.
    pub fn kept(&self, name: &str) -> Result<&Var> {
        let switched_on =
            || Error::invalid("optimizer", "settings fixed before the first step", format!("`{name}` later"));
        self.kept.iter().find(|(kept, _)| *kept == name).map(|(_, var)| var).ok_or_else(switched_on)
    }
}

/// Groups, rates and the tensors kept for each parameter.
#[derive(Debug)]
pub(super) struct Slots {
    who: &'static str,
    params: ParamStore,
    learning_rate: f64,
    weight_decay: f64,
    groups: Vec<(String, Group)>,
    slots: BTreeMap<String, Slot>,
}

#[derive(Debug)]
struct Slot {
    steps: u64,
    kept: Vec<(&'static str, Var)>,
}

impl Slot {
    fn new(rule: &impl Rule, param: &Param) -> Result<Self> {
        let initial = || Var::from_tensor(&param.value().ones_like()?.affine(rule.initial(), 0.0)?);
        let kept = rule.keeps().into_iter().map(|name| Ok((name, initial()?))).collect::<Result<_>>()?;
        Ok(Self { steps: 0, kept })
    }

    fn restored(rule: &impl Rule, param: &Param, steps: u64, state: &State) -> Result<Self> {
        let restore = |kept: &str| restored(state.tensor(&format!("{kept}.{}", param.name()))?, kept, param);
        let kept = rule.keeps().into_iter().map(|name| Ok((name, restore(name)?))).collect::<Result<_>>()?;
        Ok(Self { steps, kept })
    }
}

/// A copy of a saved tensor on the parameter's device.
fn restored(saved: &Tensor, kept: &str, param: &Param) -> Result<Var> {
    if saved.shape() != param.shape() || saved.dtype() != param.dtype() {
        let expected = format!("{:?} {:?}", param.shape().dims(), param.dtype());
        let got = format!("{:?} {:?}", saved.dims(), saved.dtype());
        return Err(Error::invalid(format!("saved `{kept}.{}`", param.name()), expected, got));
    }
    Ok(Var::from_tensor(&saved.to_device(param.var().device())?.contiguous()?)?)
}

impl Slots {
    pub fn new(who: &'static str, params: &ParamStore, learning_rate: f64, weight_decay: f64) -> Result<Self> {
        let learning_rate = check::non_negative(who, "learning_rate", learning_rate)?;
        let (groups, slots) = (Vec::new(), BTreeMap::new());
        Ok(Self { who, params: params.clone(), learning_rate, weight_decay, groups, slots })
    }

    pub fn set_weight_decay(&mut self, weight_decay: f64) {
        self.weight_decay = weight_decay;
    }

    pub fn add_group(&mut self, pattern: &str, group: Group) {
        self.groups.push((pattern.to_string(), group));
    }

    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    pub fn params(&self) -> &ParamStore {
        &self.params
    }

    /// One update of every trainable parameter with a gradient. Nothing is changed where one of the gradients does not fit.
    pub fn step(&mut self, rule: &impl Rule, gradients: &Gradients, factor: f64) -> Result<()> {
        self.check_step(rule, gradients, factor)?;
        let trainable = gradients.iter().filter(|(p, _)| p.kind() == Kind::Trainable);
        for (param, gradient) in trainable {
            self.update(rule, param, gradient, factor)?;
        }
        Ok(())
    }

    fn update(&mut self, rule: &impl Rule, param: &Param, gradient: &Tensor, factor: f64) -> Result<()> {
        let (learning_rate, weight_decay) = self.rates(param.name());
        if !self.slots.contains_key(param.name()) {
            self.slots.insert(param.name().to_string(), Slot::new(rule, param)?);
        }
        let Some(slot) = self.slots.get_mut(param.name()) else { return Ok(()) };
        slot.steps += 1;
        rule.update(&Update {
            param: param.var(),
            gradient,
            learning_rate: learning_rate * factor,
            weight_decay,
            step: slot.steps,
            kept: &slot.kept,
        })
    }

    /// The learning rate and weight decay of the parameter called `name`: those of the first group that it is in.
    fn rates(&self, name: &str) -> (f64, f64) {
        let group = self.groups.iter().find(|(pattern, _)| pattern::matches(pattern, name)).map(|(_, group)| *group);
        let group = group.unwrap_or_default();
        (group.learning_rate.unwrap_or(self.learning_rate), group.weight_decay.unwrap_or(self.weight_decay))
    }

    /// Fails where [`step`](Self::step) would, before it changes anything.
    pub fn check_step(&self, rule: &impl Rule, gradients: &Gradients, factor: f64) -> Result<()> {
        rule.check()?;
        self.check_rates(factor)?;
        gradients.iter().try_for_each(|(param, gradient)| self.expect_fitting(param, gradient))
    }

    fn check_rates(&self, factor: f64) -> Result<()> {
        check::non_negative(self.who, "learning-rate factor", factor)?;
        check::non_negative(self.who, "weight_decay", self.weight_decay)?;
        for (pattern, group) in &self.groups {
            let who = format!("{} group `{pattern}`", self.who);
            check::non_negative(&who, "learning_rate", group.learning_rate.unwrap_or_default())?;
            check::non_negative(&who, "weight_decay", group.weight_decay.unwrap_or_default())?;
            expect_match(&who, pattern, &self.params)?;
        }
        Ok(())
    }

    fn expect_fitting(&self, param: &Param, gradient: &Tensor) -> Result<()> {
        let name = param.name();
        if self.params.get(name).is_none_or(|own| own.var().id() != param.var().id()) {
            let expected = "gradients of the parameters that it was made with";
            return Err(Error::invalid(self.who, expected, format!("one of another `{name}`")));
        }
        if gradient.shape() == param.shape() && gradient.dtype() == param.dtype() {
            return Ok(());
        }
        let expected = format!("{:?} {:?}", param.shape().dims(), param.dtype());
        let got = format!("{:?} {:?}", gradient.dims(), gradient.dtype());
        Err(Error::invalid(format!("{}: gradient of `{name}`", self.who), expected, got))
    }

    /// Everything to save: `optimizer`, the updates of each parameter under `step`, and the tensors as `KEPT.NAME`.
    pub fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("optimizer", &self.who)?;
        let steps_of = |name: &str| self.slots.get(name).map_or(0, |slot| slot.steps);
        let steps: BTreeMap<String, u64> =
            self.names().into_iter().map(|name| (name.clone(), steps_of(&name))).collect();
        state.put("step", &steps)?;
        for (name, slot) in &self.slots {
            for (kept, var) in &slot.kept {
                // A copy, since the next step changes it in place.
                state.tensors.insert(format!("{kept}.{name}"), var.as_detached_tensor().copy()?);
            }
        }
        Ok(state)
    }

    /// Goes on from what [`state`](Self::state) gave. Nothing is changed where it does not fit.
    pub fn load_state(&mut self, rule: &impl Rule, state: &State) -> Result<()> {
        let who: String = state.value("optimizer")?;
        if who != self.who {
            return Err(Error::invalid("saved state", format!("one of {}", self.who), format!("one of {who}")));
        }
        let steps: BTreeMap<String, u64> = state.value("step")?;
        self.expect_own_names(&steps)?;
        let stepped = self.params.all().into_iter().filter_map(|p| Some((*steps.get(p.name())?, p)));
        let stepped = stepped.filter(|(steps, _)| *steps > 0);
        let restored = |(steps, p): (u64, Param)| Ok((p.name().to_string(), Slot::restored(rule, &p, steps, state)?));
        let slots: BTreeMap<String, Slot> = stepped.map(restored).collect::<Result<_>>()?;
        let count: usize = slots.values().map(|slot| slot.kept.len()).sum();
        if count != state.tensors.len() {
            let expected = format!("the {count} tensors that {} keeps with these settings", self.who);
            return Err(Error::invalid("saved state", expected, state.tensors.len()));
        }
        self.slots = slots;
        Ok(())
    }

    fn expect_own_names(&self, saved: &BTreeMap<String, u64>) -> Result<()> {
        let names = self.names();
        if let Some(name) = names.iter().find(|name| !saved.contains_key(*name)) {
            return Err(Error::invalid(
                "saved state",
                format!("parameter `{name}` of this model"),
                "none of that name",
            ));
        }
        match saved.keys().find(|name| !names.contains(*name)) {
            Some(name) => {
                Err(Error::invalid("saved state", "parameters of this model alone", format!("also `{name}`")))
            }
            None => Ok(()),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let params = self.params.all().into_iter().filter(|p| p.kind() != Kind::Buffer);
        params.map(|p| p.name().to_string()).collect()
    }
}

/// Fails where `pattern` matches no parameter.
pub(super) fn expect_match(who: &str, pattern: &str, params: &ParamStore) -> Result<()> {
    if params.names().iter().any(|name| pattern::matches(pattern, name)) {
        return Ok(());
    }
    Err(Error::invalid(who, format!("a parameter that `{pattern}` matches"), "none"))
}

/// The methods that every optimizer with `slots` and a `rule` has.
macro_rules! optimizer {
    ($name:ident) => {
        impl $name {
            /// Sets the weight decay of parameters outside every group: 0 or more.
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.slots.set_weight_decay(weight_decay);
                self
            }

            /// Gives the parameters whose names match `pattern` (`*` stands for any text) a rate or decay of their own.
            /// The first group that matches counts. A pattern that matches nothing is an error at the next step.
            pub fn group(mut self, pattern: &str, group: $crate::optim::Group) -> Self {
                self.slots.add_group(pattern, group);
                self
            }
        }

        impl $crate::Optimizer for $name {
            fn step(&mut self, gradients: &$crate::Gradients, factor: f64) -> $crate::Result<()> {
                self.slots.step(&self.rule, gradients, factor)
            }

            fn learning_rate(&self) -> f64 {
                self.slots.learning_rate()
            }

            fn params(&self) -> &$crate::ParamStore {
                self.slots.params()
            }

            fn state(&self) -> $crate::Result<$crate::State> {
                self.slots.state()
            }

            fn load_state(&mut self, state: &$crate::State) -> $crate::Result<()> {
                self.slots.load_state(&self.rule, state)
            }
        }
    };
}
pub(super) use optimizer;
