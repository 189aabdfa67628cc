#!/usr/bin/env python3
"""Unpacks models that paretopress wrote with the `compressed-tensors` package and compares weights.

    mkdir /tmp/out
    PARETOPRESS_HF_OUT=/tmp/out go test ../../export -run TestWriteForPeers   # from this folder
    python check_compressed_tensors.py /tmp/out

For every folder with a quantization_config: the package must accept the configuration, its rules
must find one group, or the ignore list, for every linear module, the tensors of the module must be
those of the group's format, and what it unpacks must be, bit for bit, the weights of the same
candidate in F32. The package computes in the type of the scales, so it is given them in F32.
"""

import argparse
import json
import pathlib
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import match_name
from safetensors.torch import load_file


def check(folder, dense):
    config = json.loads((folder / "config.json").read_text())
    q = config.get("quantization_config")
    if q is None:
        return None
    q = QuantizationConfig.model_validate(q)
    assert q.quantization_status == "compressed" and q.quant_method == "compressed-tensors"
    formats = {g.format for g in q.config_groups.values()}
    assert q.format == (formats.pop() if len(formats) == 1 else "mixed-precision"), q.format
    stored, want = load_file(folder / "model.safetensors"), load_file(dense / "model.safetensors")
    packed = 0
    for name in [k.removesuffix(".weight") for k in want if k.endswith("_proj.weight")]:
        parts = {k.removeprefix(name + "."): v for k, v in stored.items() if k.startswith(name + ".")}
        groups = [g for g in q.config_groups.values() if any(t == "Linear" or match_name(name, t) for t in g.targets)]
        if any(match_name(name, i) for i in q.ignore):
            assert set(parts) == {"weight"} and parts["weight"].is_floating_point(), (name, set(parts))
            assert all("Linear" in g.targets for g in groups), name
            continue
        assert len(groups) == 1, (name, len(groups))
        compressor = BaseCompressor.get_value_from_registry(groups[0].format)
        assert set(parts) == set(compressor.compression_param_names(groups[0])), (name, set(parts))
        parts["weight_scale"] = parts["weight_scale"].float()
        got = compressor.decompress(parts, groups[0])["weight"]
        assert got.dtype == torch.float32 and torch.equal(got, want[name + ".weight"]), name
        packed += 1
    assert match_name("lm_head", q.ignore[-1])
    return packed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    failed = 0
    for case in json.loads((args.out / "cases.json").read_text()):
        try:
            packed = check(args.out / case["folder"], args.out / case["dense"])
        except AssertionError as e:
            failed += 1
            print(f"FAIL {case['folder']}: {e}")
            continue
        if packed is not None:
            print(f"ok   {case['folder']}: {packed} modules unpack to the weights that were evaluated")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
