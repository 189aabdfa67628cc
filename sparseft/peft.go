package sparseft

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// PEFT is an adapter in the layout of Hugging Face PEFT: a folder with adapter_config.json and adapter_model.safetensors.
type PEFT struct {
	Config  []byte // of adapter_config.json
	entries []entry
}

// WriteWeights writes adapter_model.safetensors.
func (p *PEFT) WriteWeights(w io.Writer) error {
	return writeEntries(w, map[string]string{"format": "pt"}, p.entries)
}

// PEFT returns the delta in PEFT's layout: of type SFT, which AlanAnsell/peft loads, where all of it is sparse, and of type
// LORA where all of it is of low rank. There is none for dense deltas, for sums of both and for products under a mask. base
// is the name or path by which Python finds the model.
func (d *Delta) PEFT(base string) (*PEFT, error) {
	sparse := 0
	for i := range d.Tensors {
		t := &d.Tensors[i]
		switch {
		case t.Mask != nil:
			return nil, fmt.Errorf("sparseft: PEFT has no layout for the masked product of %s; export the merged model", t.Name)
		case t.Rank == 0 && t.Indices != nil:
			sparse++
		}
	}
	switch {
	case sparse == len(d.Tensors):
		return d.peftSFT(base)
	case d.LowRank():
		return d.peftLoRA(base)
	}
	return nil, fmt.Errorf("sparseft: PEFT has no layout for a delta of method %s; export the merged model", d.Options.Method)
}

// LowRank reports whether all that the delta adds is products of low rank, which can lie beside the weights: none of them is under a mask.
func (d *Delta) LowRank() bool {
	for i := range d.Tensors {
		if t := &d.Tensors[i]; t.Rank == 0 || t.Values != nil || t.Mask != nil {
			return false
		}
	}
	return len(d.Tensors) > 0
}

// module is the name of a target without what names its weight.
func module(name string) string { return strings.TrimSuffix(name, ".weight") }

// peftPrefix is what PEFT puts before the modules of the model it wraps.
const peftPrefix = "base_model.model."

func (d *Delta) peftSFT(base string) (*PEFT, error) {
	p := &PEFT{}
	counts := map[string]int{}
	for i := range d.Tensors {
		t := &d.Tensors[i]
		name := module(t.Name)
		counts[name] = len(t.Indices)
		key := peftPrefix + name + ".sft_delta."
		p.entries = append(p.entries, entry{key + "indices", []int{len(t.Indices)}, t.Indices}, entry{key + "values", []int{len(t.Values)}, t.Values})
	}
	o := d.Options
	algorithm := "rigl"
	if o.Method == SpIELMA {
		algorithm = "sm3"
	}
	err := p.config(map[string]any{
		"peft_type": "SFT", "base_model_name_or_path": base, "task_type": "CAUSAL_LM", "inference_mode": true,
		"num_deltas": counts, "selection_algorithm": algorithm, "dtype": "float32",
		"reselection_steps": o.ReselectionSteps, "selection_accumulation_steps": o.SelectionAccumulationSteps,
		"initial_reselection_rate": o.InitialReselectionRate, "reselection_rate_policy": o.ReselectionRatePolicy,
	})
	return p, err
}

func (d *Delta) peftLoRA(base string) (*PEFT, error) {
	p := &PEFT{}
	var modules []string
	rank, scale := d.Tensors[0].Rank, d.Tensors[0].Scale
	for i := range d.Tensors {
		t := &d.Tensors[i]
		if t.Rank != rank || t.Scale != scale {
			return nil, fmt.Errorf("sparseft: the factors of %s have rank %d and scale %v, others %d and %v", t.Name, t.Rank, t.Scale, rank, scale)
		}
		name := module(t.Name)
		modules = append(modules, name)
		key := peftPrefix + name
		p.entries = append(p.entries, entry{key + ".lora_A.weight", []int{rank, t.Cols}, t.A}, entry{key + ".lora_B.weight", []int{t.Rows, rank}, t.B})
	}
	err := p.config(map[string]any{
		"peft_type": "LORA", "base_model_name_or_path": base, "task_type": "CAUSAL_LM", "inference_mode": true,
		"r": rank, "lora_alpha": scale * float64(rank), "lora_dropout": 0.0, "target_modules": modules,
		"bias": "none", "fan_in_fan_out": false, "init_lora_weights": true,
	})
	return p, err
}

// config sets the configuration, its keys in alphabetical order as PEFT writes them.
func (p *PEFT) config(v map[string]any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	p.Config = append(b, '\n')
	return err
}
