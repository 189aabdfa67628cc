#!/usr/bin/env python3
"""Adapters of package sparseft, loaded by Hugging Face PEFT and by the authors' implementation of SpIEL.

    pip install psutil
    git clone https://github.com/AlanAnsell/peft reference && git -C reference checkout 73b455b480c5a93ec17ff0e817f946df5899b2af
    PARETOPRESS_PEFT_OUT=/tmp/peft go test -count=1 ../../sparseft -run TestWriteForPEFT
    python check_peft.py --adapters /tmp/peft --reference reference

The LoRA adapter is loaded onto a small Llama model by PeftModel.from_pretrained and merged; the sparse ones are loaded, by
the key names of the repository's set_peft_model_state_dict, into its modules and merged there. What comes out is compared
with the weights that were trained: sparse ones bit for bit, products to rounding.
"""

import argparse
import json
import os

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import golden_spiel


def check_lora(folder):
    from peft import PeftModel

    model = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, vocab_size=64))
    base, trained = load_file(os.path.join(folder, "base.safetensors")), load_file(os.path.join(folder, "trained.safetensors"))
    for name, weight in base.items():
        model.get_submodule(name).weight.data = weight.clone()
    merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
    worst = max((merged.get_submodule(name).weight - weight).abs().max().item() for name, weight in trained.items())
    moved = max((base[name] - weight).abs().max().item() for name, weight in trained.items())
    assert worst < 1e-6 < moved, (worst, moved)
    print(f"{folder}: merged by PEFT, largest difference {worst:.2g} of {moved:.2g}")


def check_sft(folder, layer):
    base, trained = load_file(os.path.join(folder, "base.safetensors")), load_file(os.path.join(folder, "trained.safetensors"))
    with open(os.path.join(folder, "adapter_config.json")) as f:
        config = json.load(f)
    assert config["peft_type"] == "SFT" and set(config["num_deltas"]) == set(base), config
    # The adapter's name goes after the prefix, as that function puts it.
    state = {}
    for key, value in load_file(os.path.join(folder, "adapter_model.safetensors")).items():
        state[key.removeprefix("base_model.model.").replace(".sft_delta.", ".sft_delta.default.")] = value
    kind = layer.AddSparseDelta(torch.nn.Linear)
    for name, weight in base.items():
        rows, cols = weight.shape
        module = kind("default", cols, rows, config["num_deltas"][name], bias=False, dtype=torch.float32)
        module.weight.data = weight.clone()
        mine = {key.removeprefix(name + "."): value for key, value in state.items() if key.startswith(name + ".")}
        missing, unexpected = module.load_state_dict(mine, strict=False)
        assert missing == ["weight"] and not unexpected, (missing, unexpected)
        with torch.no_grad():
            module.merge()
        assert torch.equal(module.weight, trained[name]), name
        assert not torch.equal(module.weight, base[name]), name
    print(f"{folder}: merged by AlanAnsell/peft, equal bit for bit")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--adapters", required=True)
    p.add_argument("--reference", help="folder of a clone of AlanAnsell/peft")
    a = p.parse_args()
    check_lora(os.path.join(a.adapters, "lora"))
    if a.reference:
        layer, _, _ = golden_spiel.load(a.reference)
        for method in "spiel-ag", "spiel-ma":
            check_sft(os.path.join(a.adapters, method), layer)


if __name__ == "__main__":
    main()
