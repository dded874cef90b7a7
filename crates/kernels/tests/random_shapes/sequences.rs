//! Attention, recurrence and rotary embedding.

use candle_core::{Result, Tensor};
use glassbox_kernels::attention::*;
use glassbox_kernels::recurrent::*;
use glassbox_kernels::rotary::{RotaryStyle, rotary};
use glassbox_kernels::scan::{gated_scan, scan};

use crate::check::check;
use crate::draw::{Case, Draw, Input, joined, typed};

/// What queries may see, with the additive mask in f64.
#[derive(Clone)]
struct Rules {
    params: AttentionParams,
    mask: AttentionMask,
}

impl Rules {
    fn draw(draw: &mut Draw, batch: usize, heads: usize, q_len: usize, kv_len: usize) -> Self {
        let params = AttentionParams {
            causal: draw.flag(),
            window: draw.flag().then(|| draw.from(1..=kv_len)),
            scale: draw.flag().then_some(0.7),
            dropout: draw.flag().then_some((0.3, 5)),
        };
        let heads = draw.one_of(&[1, heads]);
        let additive = draw.constant(&[1, heads, q_len, kv_len]);
        let mask = AttentionMask {
            padding: Some(draw.ids(&[batch, kv_len], 3)).filter(|_| draw.flag()),
            lengths: Some(draw.lengths(batch, kv_len)).filter(|_| draw.flag()),
            additive: Some(additive).filter(|_| draw.flag()),
        };
        Self { params, mask }
    }

    fn mask(&self, like: &Tensor) -> Result<AttentionMask> {
        let additive = self.mask.additive.as_ref().map(|mask| typed(mask, like)).transpose()?;
        Ok(AttentionMask { additive, ..self.mask.clone() })
    }

    fn label(&self) -> String {
        let AttentionMask { padding, lengths, additive } = &self.mask;
        format!(
            "{:?}, padding {}, lengths {lengths:?}, additive {}",
            self.params,
            padding.is_some(),
            additive.is_some()
        )
    }
}

fn separate(draw: &mut Draw) -> Case {
    let (batch, kv_heads) = (draw.batch().min(9), draw.from(1..=2));
    let heads = kv_heads * draw.from(1..=3);
    let (q_len, kv_len) = (draw.either(1..=5, 30..=70), draw.either(1..=5, 30..=90));
    let (dim, value_dim) = (draw.from(1..=5), draw.from(1..=5));
    let rules = Rules::draw(draw, batch, heads, q_len, kv_len);
    let inputs = vec![
        draw.input(&[batch, heads, q_len, dim]),
        draw.input(&[batch, kv_heads, kv_len, dim]),
        draw.input(&[batch, kv_heads, kv_len, value_dim]),
    ];
    Case::new(rules.label(), inputs, move |t| attention(&t[0], &t[1], &t[2], Some(&rules.mask(&t[0])?), &rules.params))
}

fn packed(draw: &mut Draw) -> Case {
    let (batch, heads, len) = (draw.batch().min(9), draw.from(1..=3), draw.either(1..=5, 30..=70));
    let model = heads * draw.from(1..=5);
    let rules = Rules::draw(draw, batch, heads, len, len);
    Case::new((heads, rules.label()), vec![draw.input(&[batch, len, 3 * model])], move |t| {
        attention_packed(&t[0], heads, Some(&rules.mask(&t[0])?), &rules.params)
    })
}

fn packed_kv(draw: &mut Draw) -> Case {
    let (batch, heads) = (draw.batch().min(9), draw.from(1..=3));
    let (q_len, kv_len) = (draw.either(1..=5, 30..=70), draw.either(1..=5, 30..=70));
    let model = heads * draw.from(1..=5);
    let rules = Rules::draw(draw, batch, heads, q_len, kv_len);
    let inputs = vec![draw.input(&[batch, q_len, model]), draw.input(&[batch, kv_len, 2 * model])];
    Case::new((heads, rules.label()), inputs, move |t| {
        attention_packed_kv(&t[0], &t[1], heads, Some(&rules.mask(&t[0])?), &rules.params)
    })
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    Rnn(RnnActivation),
    Gru,
    Lstm,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Cell::Rnn(_) => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }
}

/// A recurrent layer, and which of its operands there are.
#[derive(Clone, Debug)]
struct Layer {
    cell: Cell,
    both: bool,
    reverse: bool,
    bias: bool,
    state: bool,
    projection: bool,
    lengths: Option<Vec<usize>>,
}

impl Layer {
    /// All outputs, of operands in the order of [`recurrent`].
    fn outputs(&self, t: &[Tensor]) -> Result<Tensor> {
        let mut rest = t[1..].iter();
        let mut next = |wanted: bool| if wanted { rest.next() } else { None };
        let lstm_state = self.state && matches!(self.cell, Cell::Lstm);
        let mut directions = Vec::new();
        for _ in 0..=usize::from(self.both) {
            let (Some(weight_ih), Some(weight_hh)) = (next(true), next(true)) else { candle_core::bail!("no weights") };
            let bias = next(self.bias).zip(next(self.bias));
            let weight_hr = next(self.projection);
            let weights = RecurrentWeights { weight_ih, weight_hh, bias, weight_hr };
            directions.push((weights, next(self.state), next(lstm_state)));
        }
        let (first, h0, c0) = &directions[0];
        let (xs, lengths) = (&t[0], self.lengths.as_deref());
        if let [_, (second, h1, c1)] = &directions[..] {
            let (weights, h) = ([first, second], h0.zip(*h1).map(|(a, b)| [a, b]));
            let c = c0.zip(*c1).map(|(a, b)| [a, b]);
            let out = match self.cell {
                Cell::Rnn(activation) => bidirectional_rnn(xs, weights, h, activation, lengths)?,
                Cell::Gru => bidirectional_gru(xs, weights, h, lengths)?,
                Cell::Lstm => {
                    let out = bidirectional_lstm(xs, weights, h.zip(c), lengths)?;
                    let ([h, i], [c, d]) = (out.hidden, out.cell);
                    return joined(&[out.sequence, h, i, c, d]);
                }
            };
            let [h, i] = out.hidden;
            return joined(&[out.sequence, h, i]);
        }
        let params = RecurrentParams { reverse: self.reverse, lengths };
        let out = match self.cell {
            Cell::Rnn(activation) => rnn(xs, first, *h0, activation, &params)?,
            Cell::Gru => gru(xs, first, *h0, &params)?,
            Cell::Lstm => {
                let out = lstm(xs, first, h0.zip(*c0), &params)?;
                return joined(&[out.sequence, out.hidden, out.cell]);
            }
        };
        joined(&[out.sequence, out.hidden])
    }
}

fn recurrent(draw: &mut Draw, cell: Cell) -> Case {
    let (batch, len) = (draw.batch(), draw.either(1..=4, 7..=12));
    let (input, hidden) = (draw.either(1..=3, 5..=9), draw.either(1..=4, 7..=20));
    let lengths = Some(draw.lengths(batch, len)).filter(|_| draw.flag());
    let [both, reverse, bias, state] = [(); 4].map(|()| draw.flag());
    let projected = draw.from(1..=hidden);
    let projection = draw.flag() && matches!(cell, Cell::Lstm);
    let layer = Layer { cell, both, reverse, bias, state, projection, lengths };
    let (rows, output) = (cell.gates() * hidden, if projection { projected } else { hidden });
    let mut inputs: Vec<Input> = vec![draw.input(&[batch, len, input])];
    for _ in 0..=usize::from(both) {
        inputs.extend([draw.input(&[rows, input]), draw.input(&[rows, output])]);
        if bias {
            inputs.extend([draw.input(&[rows]), draw.input(&[rows])]);
        }
        if projection {
            inputs.push(draw.input(&[output, hidden]));
        }
        if state {
            inputs.push(draw.input(&[batch, output]));
        }
        if state && matches!(cell, Cell::Lstm) {
            inputs.push(draw.input(&[batch, hidden]));
        }
    }
    Case::new(layer.clone(), inputs, move |t| layer.outputs(t))
}

/// A recurrence of each feature by itself, plain or gated.
fn scanned(draw: &mut Draw) -> Case {
    let dims = [draw.batch(), draw.either(1..=5, 20..=40), draw.either(1..=5, 30..=50)];
    let (gated, state) = (draw.flag(), draw.flag());
    let mut inputs = vec![draw.input(&dims), draw.input(&dims), draw.input(&[dims[0], dims[2]])];
    if !state {
        inputs.pop();
    }
    Case::new(
        gated,
        inputs,
        move |t| {
            if gated { gated_scan(&t[0], &t[1], t.get(2)) } else { scan(&t[0], &t[1], t.get(2)) }
        },
    )
}

fn turned(draw: &mut Draw) -> Case {
    let dims = [draw.batch(), draw.from(1..=3), draw.either(1..=5, 60..=140), 2 * draw.from(1..=4)];
    let (style, offset) = (draw.one_of(&[RotaryStyle::Half, RotaryStyle::Interleaved]), draw.below(100));
    Case::new((style, offset), vec![draw.input(&dims)], move |t| rotary(&t[0], 10_000.0, offset, style))
}

#[test]
fn attentions() {
    check("attention", separate);
    check("attention_packed", packed);
    check("attention_packed_kv", packed_kv);
}

#[test]
fn recurrences() {
    check("rnn", |draw| {
        let activation = draw.one_of(&[RnnActivation::Tanh, RnnActivation::Relu]);
        recurrent(draw, Cell::Rnn(activation))
    });
    check("gru", |draw| recurrent(draw, Cell::Gru));
    check("lstm", |draw| recurrent(draw, Cell::Lstm));
}

#[test]
fn scans() {
    check("scan", scanned);
}

#[test]
fn rotations() {
    check("rotary", turned);
}
