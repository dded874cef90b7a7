"""Reads with `transformers` and `peft` what the tests of crates/transformer have saved, and compares the outputs.

Run from the repository's root, with torch, transformers, peft and safetensors installed, after
`cargo test -p glassbox-transformer --test hub --test lora`:

    python tools/check_hub.py
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

FIXTURES = Path("crates/transformer/tests/fixtures/hub")
SAVED = Path(sys.argv[1] if len(sys.argv) > 1 else "target/tmp/hub")
TOLERANCE = 1e-4


def load(folder, base=None):
    """The model in `folder`, with every weight found in its files."""
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, info = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    # Made anew where files lack it: the pooler of a model that gives vectors.
    missing = [key for key in info["missing_keys"] if "pooler" not in key]
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], (folder, info)
    return model.eval()


def output(model, x):
    if "pixels" in x:
        return model(x["pixels"]).logits
    options = {"token_type_ids": x["types"]} if "types" in x else {}
    if "target" in x:
        options["decoder_input_ids"] = x["target"]
    out = model(x["ids"], attention_mask=x.get("mask"), **options)
    return out.logits if hasattr(out, "logits") else out.last_hidden_state


def compare(name, model, tensors):
    x = {key: value.long() if value.dtype == torch.uint32 else value for key, value in tensors.items()}
    with torch.no_grad():
        got = output(model, x)
    want = x["logits"] if "logits" in x else x["output"]
    off = (got - want).abs().max().item()
    print(f"{name:34} off by {off:.1e}")
    assert off < TOLERANCE, name


checked = 0
for folder in sorted(SAVED.iterdir()):
    name = folder.name
    if name.endswith("_base"):
        continue
    if name.endswith("_adapter"):
        model = load(FIXTURES / name.removesuffix("_adapter"))
        model = PeftModel.from_pretrained(model, folder).eval()
        compare(name, model, load_file(folder / "expected.safetensors"))
    else:
        compare(name, load(folder), load_file(FIXTURES / name / "expected.safetensors"))
    checked += 1
print(f"{checked} folders read by transformers {transformers.__version__}")
