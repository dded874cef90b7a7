"""Reads the model that `rnn_text` saved into PyTorch and measures it on the tenth of the text that was held out.

    cargo run --release --example rnn_text -- --data FILE
    python tools/read_text_model_in_torch.py runs/rnn_text FILE

The loss must be the program's `validation_loss`. Needs torch and safetensors from PyPI.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy

folder, text = Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8")
weights = load_file(folder / "model.safetensors")
vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))["characters"]
num_layers = sum(name.startswith("rnn.weight_hh_l") for name in weights)
vocab_size, embedding_dim = weights["embedding.weight"].shape
hidden_size = weights["head.weight"].shape[1]

model = nn.ModuleDict({
    "embedding": nn.Embedding(vocab_size, embedding_dim),
    "rnn": nn.LSTM(embedding_dim, hidden_size, num_layers, batch_first=True),
    "head": nn.Linear(hidden_size, vocab_size),
})
model.load_state_dict(weights, strict=True)
model.eval()

ids = torch.tensor([vocabulary.index(character) for character in text])
held_out = ids[int(0.9 * len(ids)):]
with torch.no_grad():
    outputs, _ = model["rnn"](model["embedding"](held_out[None, :-1]))
    loss = cross_entropy(model["head"](outputs[0]), held_out[1:]).item()
print(f"torch {torch.__version__}: {loss:.4f} nats a character over the {len(held_out)} held out")
